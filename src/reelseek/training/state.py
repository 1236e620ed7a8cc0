"""Where a run stands, as one safetensors file that is replaced whole: a kill at any moment leaves the last one.

Beside it the weights of the best epoch, which wait under that epoch's name until the state that calls it the best is on
disk: the two never tell of different epochs.

It holds the trained weights, the optimiser's moments under the parameters' names, and the position as JSON in the
header.
No state of a random generator is in it, because the loop seeds every step from (seed, step, process).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reelseek.config import TrainConfig
from reelseek.errors import CheckpointError

STATE = "state.safetensors"
BEST = "best.safetensors"


@dataclass
class Position:
    """How far a run has come.

    epoch: epochs that are complete. batch: steps taken in the next one; drawn: its batches up to the last of them, with
    those that could not be used.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    drawn: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    log_lines: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)


def trained_tensors(method: nn.Module) -> dict[str, Tensor]:
    """The method's weights and buffers by name, without those of a frozen backbone; they share the method's memory."""
    backbone = getattr(method, "backbone", None)
    frozen = isinstance(backbone, nn.Module) and not any(p.requires_grad for p in backbone.parameters())
    return {name: value for name, value in method.state_dict().items() if not (frozen and name.startswith("backbone."))}


def load_trained(method: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors of `trained_tensors` back in place; CheckpointError when names or shapes are others."""
    own = trained_tensors(method)
    wrong = sorted(
        name
        for name in own.keys() | tensors.keys()
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path} belongs to another method: {', '.join(wrong[:3])} are missing or differ in shape"
        )
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)


def load_weights(path: Path, method: nn.Module) -> None:
    """What `save_best` wrote; CheckpointError for a damaged file or another method's."""
    load_trained(method, _load(path)[0], path)


def save_best(folder: Path, method: nn.Module, epoch: int) -> None:
    """The trained tensors under the epoch's own name; the last best ones stay until a state names this epoch."""
    _save(folder / f"best.{epoch}.safetensors", trained_tensors(method), {})


def settle_best(folder: Path, epoch: int) -> None:
    """Give best.safetensors the weights of the epoch that the state on disk calls the best, if they wait for it.

    What else a stop left of best weights goes: the state does not know of it.
    """
    waiting = folder / f"best.{epoch}.safetensors"
    if waiting.exists():
        os.replace(waiting, folder / BEST)
    for left in (*folder.glob("best.*.safetensors"), *folder.glob(".best.*.unfinished")):
        left.unlink()


def save_state(
    path: Path, method: nn.Module, optimizer: torch.optim.Optimizer, position: Position, settings: Mapping[str, Any]
) -> None:
    """Weights, moments, position, and the settings that a later start must repeat. CheckpointError on a full disk."""
    tensors = {f"weight.{name}": value for name, value in trained_tensors(method).items()}
    for name, parameter in _parameters(optimizer).items():
        for moment, value in optimizer.state[parameter].items():
            tensors[f"moment.{moment}.{name}"] = value
    _save(path, tensors, {"position": asdict(position), "settings": dict(settings)})


def load_state(
    path: Path, method: nn.Module, optimizer: torch.optim.Optimizer, settings: Mapping[str, Any]
) -> Position:
    """Restore what `save_state` wrote. CheckpointError when it is damaged, or of a run with other settings."""
    tensors, header = _load(path)
    try:
        # A run from before `drawn` was kept had, as far as it knows, no batch that could not be used.
        saved, position = header["settings"], Position(**{"drawn": header["position"]["batch"]} | header["position"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not the state of a training run: {error}") from error
    # A setting that came later than the run had its default.
    before = asdict(TrainConfig()) | saved
    for name in settings:
        if before.get(name) != settings[name]:
            raise CheckpointError(
                f"{path.parent} holds a run with other settings: "
                f"{name} was {before.get(name)}, now {settings[name]}. "
                "Give it another folder, or delete that one to start anew"
            )
    weights = {name.removeprefix("weight."): value for name, value in tensors.items() if name.startswith("weight.")}
    load_trained(method, weights, path)
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        if key.startswith("moment."):
            _, moment, name = key.split(".", 2)
            # AdamW keeps its step counter on the CPU and the moments beside the parameter.
            kept = value if moment == "step" else value.to(parameters[name].device)
            optimizer.state[parameters[name]][moment] = kept
    return position


def _parameters(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }


def _save(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    # Copies, because two names may share memory, which the format refuses.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(copies, unfinished, {"reelseek": json.dumps(header)})
        with open(unfinished, "rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            unfinished.unlink()
        raise CheckpointError(
            f"{path}: the training state cannot be written ({error}). What was saved before is kept, and with room "
            "there the same command goes on from it."
        ) from None


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["reelseek"])
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a training state: {error}. Delete {path.parent} to start anew"
        ) from error
    return tensors, header
