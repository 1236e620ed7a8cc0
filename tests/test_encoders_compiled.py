"""Frame towers compiled by OpenVINO: the same vectors as torch, and torch wherever anything speaks against it."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reelseek.encoders import compiled
from reelseek.encoders.clip import load_clip
from reelseek.encoders.compiled import PATIENCE, SETTING, TOLERANCE, CompiledTower
from reelseek.encoders.offline import OfflineBackbone
from test_encoders_clip import tiny_folder

SIDE = 8


class Tower(nn.Module):
    """A small convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Conv2d(3, 4, 3)
        self.eval()

    def forward(self, pixels_N3HW: Tensor) -> Tensor:
        return self.inner(pixels_N3HW).relu().mean((2, 3))


class Clock:
    """In place of the probe's clock: it moves a little with every look, and as far as somebody claims to work."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 1e-6
        return self.now


clock = Clock()


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "time", clock)


def slowly(tower: Callable[[Tensor], Tensor], seconds: float = 1.0) -> Callable[[Tensor], Tensor]:
    """The tower as torch's plain path that takes so long by the clock."""

    def plain(pixels_N3HW: Tensor) -> Tensor:
        clock.now += seconds
        with torch.no_grad():
            return tower(pixels_N3HW)

    return plain


def frames(count: int) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(count))


class FakeModel:
    """In place of OpenVINO's model: the tower itself, as far off and as slow as told."""

    error = 0.0
    pause = 0.0
    made = 0

    def __init__(self, openvino: Any, tower: nn.Module, example_N3HW: Tensor, lanes: int) -> None:
        type(self).made += 1
        self.tower = tower

    def __call__(self, pixels_N3HW: Tensor, lanes: int) -> Tensor:
        clock.now += self.pause
        with torch.no_grad():
            vectors_ND = self.tower(pixels_N3HW)
        return vectors_ND * (1 + self.error)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeModel]:
    """A fake model class of this test's own, with a package that is there."""
    own = type("OwnFake", (FakeModel,), {})
    monkeypatch.setattr(compiled, "CompiledModel", own)
    monkeypatch.setattr(compiled, "_openvino", lambda: SimpleNamespace())
    return own


# --- with OpenVINO ---


def real() -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")


def test_a_compiled_model_gives_each_frame_its_vector() -> None:
    real()
    tower = Tower()
    model = compiled.CompiledModel(compiled._openvino(), tower, frames(1), 3)
    for count in (1, 2, 7, 8, 9, 33, 8):
        pixels_N3HW = frames(count)
        with torch.no_grad():
            wanted_ND = torch.cat([tower(frame_3HW[None]) for frame_3HW in pixels_N3HW])
        for lanes in (1, 2, 3):
            torch.testing.assert_close(model(pixels_N3HW, lanes), wanted_ND, atol=1e-6, rtol=0)


def test_it_takes_over_after_enough_frames_and_gives_the_same() -> None:
    real()
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    first_ND = encode(frames(PATIENCE - 1))
    assert encode.engine.startswith("torch (fewer than")
    again_ND = encode(frames(PATIENCE - 1))
    assert encode.engine.startswith("openvino")
    torch.testing.assert_close(again_ND, first_ND, atol=1e-6, rtol=0)
    before = clock.now
    encode(frames(4))
    assert clock.now == before  # the plain path would have moved it


def test_its_outputs_may_be_trained_on() -> None:
    real()
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    with torch.inference_mode():
        encode(frames(PATIENCE))
    nn.Linear(4, 2)(encode(frames(2))).sum().backward()
    assert encode.engine.startswith("openvino")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_clip_towers_are_compiled_as_they_are(kind: str, tmp_path: Path) -> None:
    real()
    backbone = load_clip(tiny_folder(tmp_path, kind))
    pixels_N3HW = torch.randn(11, 3, 32, 32)
    model = compiled.CompiledModel(compiled._openvino(), backbone.compiled.tower, pixels_N3HW, 2)
    wanted_ND = backbone.encode_frames(pixels_N3HW)
    assert backbone.compiled.engine.startswith("torch")
    distances_N = (model(pixels_N3HW, 2) - wanted_ND).norm(dim=1) / wanted_ND.norm(dim=1)
    assert distances_N.max() < TOLERANCE / 10


def test_the_offline_tower_compiled_keeps_its_id_and_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    real()
    monkeypatch.setattr(compiled, "PATIENCE", 8)
    backbone = OfflineBackbone()
    before, plain = backbone.id, backbone.compiled.plain
    backbone.compiled.plain = slowly(plain)
    pixels_N3HW = nn.functional.interpolate(torch.rand(8, 3, 8, 8) * 2 - 1, size=224, mode="bicubic")
    found_ND = backbone.encode_frames(pixels_N3HW)
    assert backbone.compiled.engine.startswith("openvino")
    torch.testing.assert_close(found_ND, plain(pixels_N3HW), atol=5e-5, rtol=0)
    assert backbone.id == before


def test_importing_it_reports_to_nobody() -> None:
    real()
    line = (
        "import sys; from reelseek.encoders import compiled; compiled._openvino(); "
        "print(sys.modules['openvino_telemetry'])"
    )
    assert subprocess.run([sys.executable, "-c", line], capture_output=True, text=True).stdout == "None\n"


# --- the decision, with a fake in OpenVINO's place ---


def test_the_faster_and_equal_is_taken(fake: type[FakeModel]) -> None:
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    encode(frames(PATIENCE))
    assert encode.engine.startswith("openvino (openvino was")


def test_a_model_that_does_not_win_is_refused(fake: type[FakeModel]) -> None:
    fake.pause = 2.0
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    encode(frames(PATIENCE))
    encode(frames(PATIENCE))
    assert encode.engine.startswith("torch (openvino was 0.5 times")
    assert fake.made == 1  # asked once


@pytest.mark.parametrize(
    ("error", "engine"), [(0.5 * TOLERANCE, "openvino"), (2 * TOLERANCE, "torch"), (float("nan"), "torch")]
)
def test_a_model_that_gives_other_vectors_is_refused(fake: type[FakeModel], error: float, engine: str) -> None:
    fake.error = error
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    encode(frames(PATIENCE))
    assert encode.engine.startswith(engine)


def test_closeness_is_to_float32_and_speed_to_the_plain_path(fake: type[FakeModel]) -> None:
    """A plain path in half precision is far off the tower: no reason against a model that is not."""
    tower = Tower()
    encode = CompiledTower(tower, lambda pixels_N3HW: slowly(tower)(pixels_N3HW) * 1.01)
    encode(frames(PATIENCE))
    assert encode.engine.startswith("openvino")


def test_the_setting_forces_torch(fake: type[FakeModel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "0")
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    encode(frames(PATIENCE))
    assert encode.engine == "torch (REELSEEK_OPENVINO is 0)"
    assert fake.made == 0


def test_without_the_package_torch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower, 0.0))
    found_ND = encode(frames(PATIENCE))
    assert encode.engine == "torch (openvino is not installed)"
    with torch.no_grad():
        assert torch.equal(found_ND, tower(frames(PATIENCE)))


def test_a_compiler_that_fails_costs_only_speed(fake: type[FakeModel], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(compiled, "CompiledModel", broken)
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower, 0.0))
    assert encode(frames(PATIENCE)).shape == (PATIENCE, 4)
    assert encode.engine == "torch (openvino cannot: RuntimeError)"


def test_a_tower_in_training_is_left_alone(fake: type[FakeModel]) -> None:
    tower = Tower().train()
    encode = CompiledTower(tower, slowly(tower))
    encode(frames(PATIENCE))
    assert encode.engine.startswith("torch (the tower is in training")


def test_changed_weights_are_seen(fake: type[FakeModel]) -> None:
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    encode(frames(PATIENCE))
    assert encode.engine.startswith("openvino")
    with torch.no_grad():
        tower.inner.weight.mul_(2)
    found_ND = encode(frames(3))
    assert encode.engine.startswith("torch (fewer than")
    with torch.no_grad():
        assert torch.equal(found_ND, tower(frames(3)))


def test_weights_that_moved_are_seen(fake: type[FakeModel]) -> None:
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    encode(frames(PATIENCE))
    tower.to(torch.float64).to(torch.float32)
    encode(frames(3))
    assert encode.engine.startswith("torch (fewer than")


def test_a_copy_makes_its_own_model(fake: type[FakeModel]) -> None:
    tower = Tower()
    encode = CompiledTower(tower, tower)
    other = copy.deepcopy(encode)
    assert other.tower is not tower
    assert other.plain is other.tower


def test_threads_share_one_model(fake: type[FakeModel]) -> None:
    tower = Tower()
    encode = CompiledTower(tower, slowly(tower))
    wanted_ND = slowly(tower, 0.0)(frames(64))
    wrong: list[bool] = []

    def work() -> None:
        for _ in range(6):
            wrong.append(not torch.allclose(encode(frames(64)), wanted_ND, atol=1e-6))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 24
    assert not any(wrong)
    assert fake.made == 1
    assert encode.engine.startswith("openvino")
