"""The built wheel, installed where no source lies about: it holds all that is needed, nothing else, and works."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import reelseek

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "reelseek"
Command = Callable[..., str]

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(target), str(ROOT)], check=True, capture_output=True, timeout=120)
    (made,) = target.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, and the dependencies of this one behind it.

    A path in a .pth file is searched last, and .pth files found there are not read: an editable install stays unseen.
    """
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps"]
    subprocess.run([*install, "--no-index", str(wheel)], check=True, capture_output=True, timeout=120)
    (packages,) = folder.glob("lib/python*/site-packages")
    assert (packages / "reelseek" / "__init__.py").is_file()
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def command(environment: Path, tmp_path: Path) -> Command:
    """Runs a program of the environment in an empty folder, and returns what it printed."""

    def run(program: str, *words: str) -> str:
        done = subprocess.run(
            [environment / "bin" / program, *words],
            cwd=tmp_path,
            env=clean(tmp_path),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def clean(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REELSEEK", "XDG_"))}
    return kept | {"HOME": str(home), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = email.message_from_bytes(archive.read(f"reelseek-{reelseek.__version__}.dist-info/METADATA"))
    ours = {f"reelseek/{file.relative_to(SOURCE)}" for file in SOURCE.rglob("*") if file.is_file()}
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == {name for name in ours if "__pycache__" not in name}
    needed = ("py.typed", "templates/report.html", "app/static/page.js", "encoders/conse_classes.safetensors")
    assert {f"reelseek/{name}" for name in needed} <= packed
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert metadata["Requires-Python"] == ">=3.11"
    extras = {"clip", "demo", "camoe", "babyai", "hf", "fast", "openvino", "mcp", "bench", "docs", "dev"}
    assert extras == set(metadata.get_all("Provides-Extra", []))


def test_the_wheel_is_what_runs(command: Command, environment: Path) -> None:
    place = command("python", "-c", "import reelseek, sys; print(reelseek.__file__)").strip()
    assert Path(place).is_relative_to(environment)
    assert command("reelseek", "--version") == f"reelseek {reelseek.__version__}\n"
    assert "usage: reelseek COMMAND" in command("reelseek", "--help")
    assert command("python", "-m", "reelseek", "--help") == command("reelseek", "--help")
    doctor = command("reelseek", "doctor")
    assert "weights found" in doctor
    assert "MISSING" not in doctor


def test_index_search_serve_and_report(
    command: Command, environment: Path, clip: Callable[..., Path], tmp_path: Path
) -> None:
    for name, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
        clip(tmp_path / "videos" / f"{name}.mp4", colour)
    assert "2 added" in command("reelseek", "index", "videos", "--index", "my.index")
    hits = [
        json.loads(line)
        for line in command("reelseek", "search", "x", "--index", "my.index", "--json").split("\n")
        if line
    ]
    assert sorted(Path(hit["path"]).name for hit in hits) == ["blue.mp4", "red.mp4"]
    (tmp_path / "results.json").write_text('{"runs": []}')
    command("reelseek", "report", "results.json")
    assert "<style>" in (tmp_path / "report.html").read_text()
    serve = [environment / "bin" / "reelseek", "serve", "--index", "my.index", "--port", "0"]
    with subprocess.Popen(serve, cwd=tmp_path, env=clean(tmp_path), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[5]
            for file in ("", "static/page.js", "static/page.css", "static/icon.svg"):
                assert urllib.request.urlopen(f"{address}{file}", timeout=20).status == 200
        finally:
            server.terminate()
