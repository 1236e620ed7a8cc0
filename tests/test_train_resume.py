"""A stop at any moment, and going on from it, gives the weights, the history and the log of a run without a stop."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reelseek.errors import CheckpointError
from reelseek.records import Texts, Videos
from reelseek.training.batches import Batch
from reelseek.training.distributed import make_fabric
from reelseek.training.interrupt import interrupt_held
from reelseek.training.loop import fit
from reelseek.training.state import Position, save_state
from train_toy import CONFIG, Toy, batches_of, dataset, objective, read_log, recall


def run(folder, method=None, config=CONFIG, objective=objective, progress=None, save_seconds=300.0):
    method = method or Toy(dropout=0.3)
    texts, videos = dataset()
    batches, steps = batches_of(texts, videos, config)
    return method, fit(
        method,
        batches,
        objective,
        config=config,
        steps_per_epoch=steps,
        folder=folder,
        validate=lambda: {"R@1": recall(method, texts, videos)},
        progress=progress,
        save_seconds=save_seconds,
    )


def without_times(records):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    method, result = run(folder)
    return folder, method, result


def assert_same(whole, folder, method, result):
    expected_folder, expected_method, expected = whole
    for name, value in expected_method.state_dict().items():
        assert torch.equal(value, method.state_dict()[name]), name
    assert (result.best_epoch, result.history, result.steps) == (expected.best_epoch, expected.history, expected.steps)
    assert without_times(read_log(folder)) == without_times(read_log(expected_folder))
    theirs, ours = load_file(expected_folder / "state.safetensors"), load_file(folder / "state.safetensors")
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


@pytest.mark.parametrize("save_seconds", [0.0, 300.0])
@pytest.mark.parametrize("at", [1, 3, 4, 8])
def test_an_exception_at_any_step_loses_nothing(whole, tmp_path, at, save_seconds):
    def fail(record):
        if record["kind"] == "step" and record["step"] == at:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, progress=fail, save_seconds=save_seconds)
    random.random(), np.random.random(), torch.rand(3)
    method, result = run(tmp_path)
    assert result.resumed_at == ((at - 1) // 3 * 3 if save_seconds else at - 1)
    assert_same(whole, tmp_path, method, result)


@pytest.mark.parametrize("encode", [None, lambda batch: (batch.texts, batch.videos)], ids=["features", "towers"])
def test_what_was_trained_on_is_not_made_again_and_batches_that_cannot_be_used_count(tmp_path, encode):
    texts, videos = dataset(12)
    made = []

    def batches(epoch, start):
        for number, rows in list(enumerate((slice(0, 4), slice(4, 5), slice(5, 8), slice(8, 12))))[start:]:
            made.append((epoch, number))
            lone = encode is not None and rows == slice(4, 5)
            part = Videos(videos.frames_VFD[rows], videos.mask_VF[rows])
            yield None if lone else Batch(Texts(texts.pooled_TD[rows]), part)

    def go(folder, progress=None):
        method = Toy(dropout=0.3)
        how = {"config": CONFIG, "steps_per_epoch": 4, "encode": encode, "save_seconds": 0.0, "progress": progress}
        return method, fit(method, batches, objective, folder=folder, **how)

    def fail(record):
        if record.get("step") == 6:
            raise RuntimeError("power cut")

    method, result = go(tmp_path / "whole")
    made.clear()
    with pytest.raises(RuntimeError, match="power cut"):
        go(tmp_path / "cut", fail)
    assert made[-1] == (2, 3)
    made.clear()
    again, other = go(tmp_path / "cut")
    assert made[0] == (2, 3), "of the second epoch two batches were used and one could not be"
    assert other.resumed_at == 5
    assert other.steps == result.steps == 3 * CONFIG.epochs
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in method.state_dict().items())


def test_between_two_states_inside_an_epoch_lies_the_time_that_was_asked_for(tmp_path, monkeypatch):
    """A second a step, ten steps an epoch: the end of an epoch saves too."""
    now, saved = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)

    def tick(record):
        now[0] += 1.0

    def noting(path, method, optimizer, position, settings):
        saved.append(position.step)
        save_state(path, method, optimizer, position, settings)

    monkeypatch.setattr("reelseek.training.loop.time", clock)
    monkeypatch.setattr("reelseek.training.loop.save_state", noting)
    config = replace(CONFIG, epochs=2, batch_size=2)
    batches, steps = batches_of(*dataset(), config)
    fit(
        Toy(), batches, objective,
        config=config, steps_per_epoch=steps, folder=tmp_path, progress=tick, save_seconds=4.0,
    )  # fmt: skip
    assert saved == [4, 8, 10, 14, 18, 20]


def test_ctrl_c_ends_the_step_and_saves_it(whole, tmp_path):
    calls = []

    def interrupting(scores, logit_scale, relevance_TV=None):
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return objective(scores, logit_scale)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, objective=interrupting)
    assert len(read_log(tmp_path)) == 5 + 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    method, result = run(tmp_path)
    assert result.resumed_at == 5
    assert_same(whole, tmp_path, method, result)


def test_ctrl_c_during_validation_is_not_held(whole, tmp_path):
    method, (texts, videos), calls = Toy(dropout=0.3), dataset(), []
    batches, steps = batches_of(texts, videos)

    def validate():
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return {"R@1": recall(method, texts, videos)}

    with pytest.raises(KeyboardInterrupt):
        fit(method, batches, objective, config=CONFIG, steps_per_epoch=steps, folder=tmp_path, validate=validate)
    method, result = run(tmp_path)
    assert result.resumed_at == 6
    assert_same(whole, tmp_path, method, result)


SCRIPT = """
import sys, time
from test_train_resume import run
def slow(record):
    print(record["step"], flush=True)
    time.sleep(0.02)
run(sys.argv[1], progress=slow, save_seconds=0.0)
"""


def start(folder):
    threads = str(torch.get_num_threads())  # sums are split by threads: another number rounds otherwise
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": threads}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)], env=environment, stdout=subprocess.PIPE, text=True
    )


def kill_at(folder, step, delay):
    """Start the run in a process of its own and kill it `delay` seconds after it told of a step."""
    with start(folder) as process:
        for line in process.stdout:
            if int(line) >= step:
                break
        time.sleep(delay)
        process.kill()


def test_a_killed_process_goes_on_bit_for_bit(whole, tmp_path):
    kill_at(tmp_path, 4, 0.01)
    method, result = run(tmp_path)
    assert 3 <= result.resumed_at < 9
    assert_same(whole, tmp_path, method, result)


@pytest.mark.soak
def test_many_kills_go_on_bit_for_bit(whole, tmp_path):
    rng = random.Random(0)
    for trial in range(12):
        folder = tmp_path / str(trial)
        kill_at(folder, rng.randint(1, 8), rng.random() * 0.05)
        assert_same(whole, folder, *run(folder))


def test_a_kill_before_or_after_any_move_of_a_file_goes_on_bit_for_bit(whole, tmp_path, monkeypatch):
    moved, replace_file, kill_at_move = [], os.replace, None

    def moving(source, target):
        moved.append(Path(target).name)
        if kill_at_move == (len(moved), "before"):
            raise SystemExit("killed")
        replace_file(source, target)
        if kill_at_move == (len(moved), "after"):
            raise SystemExit("killed")

    monkeypatch.setattr("reelseek.training.state.os.replace", moving)
    run(tmp_path / "moves")
    moves = len(moved)
    assert moved[:3] == ["best.1.safetensors", "state.safetensors", "best.safetensors"]
    for at in range(1, moves + 1):
        for side in ("before", "after"):
            folder = tmp_path / f"{at} {side}"
            moved.clear()
            kill_at_move = (at, side)
            with pytest.raises(SystemExit):
                run(folder)
            kill_at_move = None
            assert_same(whole, folder, *run(folder))
            files = {path.name for path in folder.iterdir()}
            assert files == {"state.safetensors", "best.safetensors", "log.jsonl", "tensorboard"}


def scripted(folder, values, config=CONFIG):
    """A run whose validation gives these values, and the weights at each of them."""
    method, seen = Toy(dropout=0.3), []
    texts, videos = dataset()
    batches, steps = batches_of(texts, videos, config)

    def validate():
        seen.append({name: value.clone() for name, value in method.state_dict().items()})
        return {"R@1": values[len(seen) - 1]}

    def go():
        return fit(method, batches, objective, config=config, steps_per_epoch=steps, folder=folder, validate=validate)

    return method, seen, go


@pytest.mark.parametrize("repeated", [5.0, 30.0], ids=["worse", "better"])
@pytest.mark.parametrize("error", [SystemExit("killed"), CheckpointError("disk full"), KeyboardInterrupt()], ids=repr)
def test_best_weights_are_those_of_the_epoch_that_is_called_best(tmp_path, monkeypatch, error, repeated):
    """A repeated epoch need not come to the same value: another device or cut rounds otherwise."""
    config, saves = replace(CONFIG, epochs=2), []

    def second_fails(*args):
        saves.append(args)
        if len(saves) == 2:
            raise error
        save_state(*args)

    with monkeypatch.context() as patch:
        patch.setattr("reelseek.training.loop.save_state", second_fails)
        _, first, go = scripted(tmp_path, [10.0, 20.0], config)
        with pytest.raises(type(error)):
            go()
    method, second, go = scripted(tmp_path, [repeated], config)
    result = go()
    if isinstance(error, KeyboardInterrupt):  # it saves the state again, behind the epoch
        assert (result.best_epoch, result.best_value, second) == (2, 20.0, [])
        best = first[1]
    else:
        assert (result.best_epoch, result.best_value) == ((1, 10.0) if repeated < 10 else (2, 30.0))
        best = first[0] if repeated < 10 else second[0]
    assert all(torch.equal(value, method.state_dict()[name]) for name, value in best.items())


def test_an_interrupt_that_cuts_the_end_of_an_epoch_in_half_leaves_the_state_before_it(tmp_path, monkeypatch):
    config = replace(CONFIG, epochs=2)

    class Cut(Position):
        def __setattr__(self, name, value):
            if name == "batch" and value == 0 and self.epoch == 1:
                raise KeyboardInterrupt
            super().__setattr__(name, value)

    with monkeypatch.context() as patch:
        patch.setattr("reelseek.training.loop.Position", Cut)
        with pytest.raises(KeyboardInterrupt):
            scripted(tmp_path, [10.0], config)[2]()
    method, seen, go = scripted(tmp_path, [10.0, 5.0], config)
    result = go()
    assert (result.best_epoch, result.steps, len(result.history)) == (1, 6, 2)
    assert all(torch.equal(value, method.state_dict()[name]) for name, value in seen[0].items())


def test_tensorboard_shows_every_step_once_after_a_stop(whole, tmp_path):
    def fail(record):
        if record["step"] == 5:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, progress=fail)
    time.sleep(1.1)
    run(tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("step/loss/total")] == list(range(1, 10))


def test_a_finished_run_is_only_read(whole, tmp_path):
    method, first = run(tmp_path)
    log = (tmp_path / "log.jsonl").read_bytes()
    again, second = run(tmp_path, Toy(seed=5))
    assert second == first._replace(resumed_at=first.steps)
    assert torch.equal(again.texts.weight, method.texts.weight)
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_half_a_log_line_is_cut_off(whole, tmp_path):
    def fail(record):
        if record["step"] == 4:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, progress=fail)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"kind": "step", "st')
    assert len(read_log(tmp_path)) == 5
    assert_same(whole, tmp_path, *run(tmp_path))


def test_another_run_in_the_folder_is_refused(whole, tmp_path):
    run(tmp_path)
    with pytest.raises(CheckpointError, match=r"learning_rate was 0\.01, now 0\.5"):
        run(tmp_path, config=replace(CONFIG, learning_rate=0.5))
    with pytest.raises(CheckpointError, match="seed was 7, now 8"):
        run(tmp_path, config=replace(CONFIG, seed=8))
    with pytest.raises(CheckpointError, match="steps_per_epoch was 3, now 4"):
        fit(Toy(), lambda epoch, drawn: [], objective, config=CONFIG, steps_per_epoch=4, folder=tmp_path)
    other = Toy()
    other.head = torch.nn.Linear(16, 7)
    with pytest.raises(CheckpointError, match="another method"):
        run(tmp_path, other)
    other = Toy()
    other.head[0].bias = torch.nn.Parameter(torch.zeros(1, 16))
    with pytest.raises(CheckpointError, match=r"another method: head\.0\.bias are missing or differ in shape"):
        run(tmp_path, other)


def test_a_run_goes_on_with_other_workers_and_in_less_memory(whole, tmp_path):
    def fail(record):
        if record["step"] == 5:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, progress=fail)
    device = "cpu" if torch.cuda.is_available() else "auto"
    elsewhere = replace(CONFIG, device=device, workers=1, chunk=4, gradient_checkpointing=True)
    assert_same(whole, tmp_path, *run(tmp_path, config=elsewhere))


@pytest.mark.parametrize("header", [{}, {"position": {"batch": 0}}, {"position": {"batch": 0, "a": 1}, "settings": {}}])
def test_a_file_that_is_no_state_is_named(tmp_path, header):
    save_file({"weight.a": torch.zeros(1)}, tmp_path / "state.safetensors", {"reelseek": json.dumps(header)})
    with pytest.raises(CheckpointError, match=r"state\.safetensors is not the state of a training run"):
        run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\0\0\0\0\0\0\0{}      ", "cut"])
def test_a_damaged_state_is_named(tmp_path, content):
    run(tmp_path)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-9] if content == "cut" else content)
    with pytest.raises(CheckpointError, match=r"state\.safetensors cannot be read"):
        run(tmp_path)


@pytest.mark.parametrize("error", [OSError("No space left"), SafetensorError("No space left")], ids=repr)
def test_a_full_disk_keeps_the_last_state_and_no_rest(whole, tmp_path, monkeypatch, error):
    saves = []

    def filling(tensors, path, metadata):
        saves.append(path)
        if len(saves) == 4:  # the state of the second epoch
            path.write_bytes(b"half")
            raise error
        save_file(tensors, path, metadata)

    with monkeypatch.context() as patch:
        patch.setattr("reelseek.training.state.save_file", filling)
        with pytest.raises(
            CheckpointError, match=r"state\.safetensors: the training state cannot be written \(No space"
        ):
            run(tmp_path)
    assert not list(tmp_path.glob(".*"))
    method, result = run(tmp_path)
    assert result.resumed_at == 3
    assert_same(whole, tmp_path, method, result)


def test_what_a_kill_left_of_a_state_is_written_over(whole, tmp_path):
    def fail(record):
        if record["step"] == 4:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, progress=fail)
    half = (tmp_path / "state.safetensors").read_bytes()[:999]
    for name in ("state", "best"):
        (tmp_path / f".{name}.safetensors.unfinished").write_bytes(half)
    assert_same(whole, tmp_path, *run(tmp_path))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("content", [b"", b"garbage", "cut"])
def test_damaged_best_weights_are_named(tmp_path, content):
    run(tmp_path)
    path = tmp_path / "best.safetensors"
    path.write_bytes(path.read_bytes()[:-9] if content == "cut" else content)
    with pytest.raises(CheckpointError, match=r"best\.safetensors cannot be read"):
        run(tmp_path)


def test_a_state_of_before_a_setting_was_there_goes_on(whole, tmp_path):
    def fail(record):
        if record["step"] == 6:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, progress=fail, save_seconds=0.0)
    path = tmp_path / "state.safetensors"
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["reelseek"])
    del header["settings"]["optimizer"], header["settings"]["freeze_layers"], header["position"]["drawn"]
    save_file(load_file(path), path, {"reelseek": json.dumps(header)})
    method, result = run(tmp_path)
    assert result.resumed_at == 5
    assert_same(whole, tmp_path, method, result)


def test_a_run_that_began_without_scaled_gradients_goes_on_with_them(tmp_path, monkeypatch):
    def stop(record):
        if record.get("step") == at:
            raise KeyboardInterrupt

    scales = [16.0, 1.0]

    def with_scaler(config):
        fabric = make_fabric(config)
        fabric.strategy.precision.scaler = scaler = torch.amp.GradScaler("cpu", init_scale=scales.pop(0))
        used.append(scaler)
        return fabric

    used, at = [], 4
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=stop)
    monkeypatch.setattr("reelseek.training.loop.make_fabric", with_scaler)
    at = 5
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=stop)
    assert run(tmp_path)[1].resumed_at == 5
    assert used[1].state_dict()["scale"] == 16.0


def test_nothing_is_pickled(tmp_path):
    run(tmp_path)
    for path in (tmp_path / "state.safetensors", tmp_path / "best.safetensors"):
        header = int.from_bytes(path.read_bytes()[:8], "little")
        json.loads(path.read_bytes()[8 : 8 + header])
    assert {path.name for path in tmp_path.iterdir()} == {
        "state.safetensors",
        "best.safetensors",
        "log.jsonl",
        "tensorboard",
    }


def test_a_second_interrupt_is_not_held():
    def twice():
        with interrupt_held():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second one was held")

    with pytest.raises(KeyboardInterrupt):
        twice()


@pytest.mark.parametrize("ignored", [True, False])
def test_an_interrupt_that_the_process_ignores_or_handles_itself_stops_nothing(tmp_path, ignored):
    came, calls = [], []

    def interrupting(scores, logit_scale, relevance_TV=None):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return objective(scores, logit_scale)

    handler = signal.SIG_IGN if ignored else lambda number, frame: came.append(len(calls))
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert run(tmp_path, objective=interrupting)[1].steps == 9
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == ([] if ignored else [2])


def test_other_threads_hold_nothing(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path)[1].steps))
    thread.start()
    thread.join()
    assert results == [9]
