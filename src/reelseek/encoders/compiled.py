"""A frame tower compiled by OpenVINO for the processor: where it is installed, faster here, and gives the same vectors.

OpenVINO is optional (`pip install 'reelseek[openvino]'`). Its model is made from the torch module in memory, after so
many frames that making it pays; until then, and wherever anything speaks against it, torch computes.
Not here: the towers themselves (`reelseek.encoders.offline`, `reelseek.encoders.clip`). Shapes: N frames, S side, D
width.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import torch
from torch import Tensor, nn

SETTING = "REELSEEK_OPENVINO"
"""Environment variable: 0 keeps frames in torch."""

PATIENCE = 1024
"""Frames that torch encodes first: making and trying the model takes some three seconds of two cores, which about 600
frames bring in again (16 ms a frame by torch, 10 by OpenVINO, on two cores with AVX2)."""

TOLERANCE = 1e-4
"""Largest distance of a frame's vector to torch's in float32, in parts of its length; rounding to float16 is 5e-4."""

_PROBED = 8
_FRAMES_AT_ONCE = 8
_ROUNDS = 2
_making = threading.Lock()


class CompiledTower:
    """Encodes frames by `plain`, and by OpenVINO once it has shown on this machine's own frames that it is worth it.

    tower: the module [N, 3, S, S] -> [N, D] in float32, from which the model is made. plain: what computes otherwise,
    which may round more than the tower. Calls may come from several threads. When weights change, or leave the
    processor, torch computes again, and the count of frames begins anew.
    """

    def __init__(self, tower: nn.Module, plain: Callable[[Tensor], Tensor]) -> None:
        self.tower = tower
        self.plain = plain
        self.lanes = torch.get_num_threads()
        self.reason = "no frames so far"
        self._model: CompiledModel | None = None
        self._frames = 0
        self._settled = False
        self._weights: tuple[tuple[int, int], ...] = ()

    def __reduce__(self) -> tuple[type[CompiledTower], tuple[object, ...]]:
        return type(self), (self.tower, self.plain)  # a copy makes its own model

    def __call__(self, pixels_N3HW: Tensor) -> Tensor:
        """Vectors [N, D] of prepared pixels, an ordinary tensor."""
        model = self._current(pixels_N3HW)
        if model is None:
            return self.plain(pixels_N3HW)
        return model(pixels_N3HW, min(self.lanes, torch.get_num_threads()))

    @property
    def engine(self) -> str:
        """What encodes the next frames, "openvino" or "torch", with the reason in brackets."""
        return f"torch ({self.reason})" if self._model is None else f"openvino ({self.reason})"

    def _current(self, pixels_N3HW: Tensor) -> CompiledModel | None:
        weights = _versions(self.tower)
        if weights != self._weights:
            self._weights, self._model, self._frames, self._settled = weights, None, 0, False
            self.reason = f"fewer than {PATIENCE} frames so far"
        if self._settled:
            return self._model
        self._frames += len(pixels_N3HW)
        # Others go on in torch while one makes the model.
        if self._frames >= PATIENCE and _making.acquire(blocking=False):
            try:
                if not self._settled:
                    self._model, self.reason = self._judged(pixels_N3HW[:_PROBED])
                    self._settled = True
            finally:
                _making.release()
        return self._model

    def _judged(self, example_N3HW: Tensor) -> tuple[CompiledModel | None, str]:
        """The model if it is to be used, and why or why not. Nothing that goes wrong here may stop the encoding."""
        if os.environ.get(SETTING, "") == "0":
            return None, f"{SETTING} is 0"
        if any(value.device.type != "cpu" for value in self.tower.parameters()):
            return None, "the weights are not on the processor"
        if any(
            part.training for part in self.tower.modules() if next(part.parameters(recurse=False), None) is not None
        ):
            return None, "the tower is in training mode"
        try:
            openvino = _openvino()
        except ImportError:
            return None, "openvino is not installed"
        try:
            model = CompiledModel(openvino, self.tower, example_N3HW, self.lanes)
            return self._probed(model, example_N3HW.float())
        except Exception as error:  # whatever a compiler stumbles over, torch computes it
            return None, f"openvino cannot: {type(error).__name__}"

    def _probed(self, model: CompiledModel, example_N3HW: Tensor) -> tuple[CompiledModel | None, str]:
        lanes = min(self.lanes, torch.get_num_threads())
        with torch.inference_mode():
            wanted_ND = self.tower(example_N3HW)
        distances_N = (model(example_N3HW, lanes) - wanted_ND).norm(dim=1) / wanted_ND.norm(dim=1)
        if not distances_N.max() <= TOLERANCE:
            return None, f"openvino is {float(distances_N.max()):.1e} off"
        ours, theirs = [], []
        for _ in range(_ROUNDS):  # in turns: other work on the machine slows both
            ours.append(_seconds(lambda: self.plain(example_N3HW)))
            theirs.append(_seconds(lambda: model(example_N3HW, lanes)))
        ratio = min(ours) / min(theirs)
        return (model if ratio > 1 else None), f"openvino was {ratio:.1f} times as fast"


class CompiledModel:
    """A tower as OpenVINO computes it, in float32, on `lanes` frames' parts side by side, each on one core."""

    def __init__(self, openvino: Any, tower: nn.Module, example_N3HW: Tensor, lanes: int) -> None:
        with warnings.catch_warnings(), torch.inference_mode():
            # Tracing warns of numbers that it fixes: sizes of the pictures, which stay.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(tower, example_N3HW[:1], check_trace=False)  # type: ignore[no-untyped-call]
            model = openvino.convert_model(traced, example_input=example_N3HW[:1])
        model.reshape([-1, *example_N3HW.shape[1:]])
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": lanes,
            "INFERENCE_NUM_THREADS": lanes,
            "ENABLE_CPU_PINNING": False,  # decoding shares the cores
        }
        self._tensor = openvino.Tensor
        self._compiled = openvino.Core().compile_model(model, "CPU", settings)
        self._idle: SimpleQueue[Any] = SimpleQueue()

    def __call__(self, pixels_N3HW: Tensor, lanes: int) -> Tensor:
        """Vectors [N, D] of pixels [N, 3, S, S], `lanes` parts at a time."""
        size = max(1, min(_FRAMES_AT_ONCE, -(-len(pixels_N3HW) // lanes)))
        found: list[Tensor] = []
        under_way: deque[Any] = deque()
        for part in torch.split(pixels_N3HW.float(), size):
            if len(under_way) == lanes:
                found.append(self._taken(under_way.popleft()))
            request = self._request()
            request.set_input_tensor(self._tensor(part.contiguous().numpy(), shared_memory=True))
            request.start_async()
            under_way.append(request)
        found += [self._taken(request) for request in under_way]
        return torch.cat(found)

    def _request(self) -> Any:
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._compiled.create_infer_request()

    def _taken(self, request: Any) -> Tensor:
        request.wait()
        vectors_ND = torch.from_numpy(request.get_output_tensor().data.copy())
        self._idle.put(request)
        return vectors_ND


def _openvino() -> Any:
    """The package, or ImportError. Its import reports to a statistics service, unless that part is missing."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


def _versions(tower: nn.Module) -> tuple[tuple[int, int], ...]:
    return tuple((value.data_ptr(), 0 if value.is_inference() else value._version) for value in tower.parameters())


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
