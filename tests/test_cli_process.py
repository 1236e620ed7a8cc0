"""What only a process of its own shows: how fast it answers, what it imports, its exit code, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cli_world import COLOURS, films, gradient, run, train_words
from reelseek.app.cli import COMMANDS

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
HEAVY = "{'torch', 'numpy', 'av', 'lance', 'pyarrow', 'transformers', 'matplotlib'}"


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return done.stdout


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "reelseek", *map(str, words)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], sent: int) -> tuple[int, str, str]:
    process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_takes_less_than_half_a_second_and_no_heavy_import(command: str) -> None:
    code = f"""
import sys, time
from reelseek.app.cli import main
assert main({[command, "--help"] if command else ["--help"]}) == 0
assert not {HEAVY} & sys.modules.keys(), {HEAVY} & sys.modules.keys()
print(time.process_time())
"""
    # Seconds of this process on the processor: another busy process may slow one try, not three.
    seconds = float(python(code).splitlines()[-1])
    if seconds >= 0.5:
        seconds = min(float(python(code).splitlines()[-1]) for _ in range(3))
    assert seconds < 0.5


@pytest.mark.parametrize(("words", "code"), [("doctor >&-", 0), ("doctor >&- 2>&-", 0), ("search 2>&-", 2)])
def test_closed_outputs_change_no_exit_code(words: str, code: int) -> None:
    done = subprocess.run(f"{sys.executable} -m reelseek {words}", shell=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode == code


def test_importing_the_package_takes_less_than_a_tenth_of_a_second() -> None:
    code = f"""
import sys, time
begun = time.process_time()
import reelseek
print(time.process_time() - begun)
assert not {HEAVY} & sys.modules.keys()
"""
    assert min(float(python(code)) for _ in range(3)) < 0.1


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    def code(*words: object) -> int:
        process = start(*words)
        process.communicate(timeout=60)
        return process.returncode

    assert code("--version") == 0
    assert code("search", "a dog", "--index", tmp_path) == 1
    assert code("search", "a dog") == 2
    assert code("trian") == 2


def test_a_reader_that_goes_away_ends_a_command_quietly() -> None:
    command = f"{sys.executable} -m reelseek train --help | head -n 1"
    done = subprocess.run(["sh", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("usage: reelseek train RECIPE")
    assert done.stderr == ""


def test_ctrl_c_in_training_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    words = [*train_words(films(tmp_path / "films"), tmp_path / "cache", tmp_path / "run"), "--train.epochs", 60]
    process = start(*words)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") > 4):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    code, out, err = end(process, signal.SIGINT)
    assert code == 130
    assert out == ""
    assert err.endswith("reelseek train: interrupted; the same command goes on from here.\n")
    assert "Traceback" not in err
    stopped = [json.loads(line) for line in log.read_text().splitlines() if '"step"' in line]
    assert 1 <= stopped[-1]["step"] < 180
    done = run(*words)
    assert done.code == 0, done
    steps = [row["step"] for row in map(json.loads, log.read_text().splitlines()) if row["kind"] == "step"]
    assert steps == list(range(1, 181)), "every step once"


def test_serve_answers_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    film = gradient(tmp_path / "films" / "red.mp4", COLOURS["red"])
    assert run("index", film.parent, "--index", tmp_path / "index").code == 0
    process = start("serve", "--index", tmp_path / "index", "--port", 0)
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline()
        assert greeting.endswith("(Ctrl-C ends it)\n"), process.stderr.read()
        address = greeting.split(" at ")[1].split()[0]
        with urllib.request.urlopen(f"{address}api/status", timeout=20) as answer:
            status = json.load(answer)
        assert (status["videos"], status["segments"], status["model"]) == (1, 1, "zero-shot over offline")
        with urllib.request.urlopen(f"{address}api/search?q=red&k=3", timeout=20) as answer:
            assert [hit["name"] for hit in json.load(answer)["hits"]] == ["red.mp4"]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(f"{address}api/search?q=%20", timeout=20)
    finally:
        code, _, err = end(process, signal.SIGINT)
    assert code == 130
    assert err.splitlines()[-1] == "reelseek serve: interrupted."
    assert "Traceback" not in err
