"""Methods on disk, and models by name: the one place that turns what a user types into a method object.

A run folder holds `config.json` and `model.safetensors` (see `reelseek.checkpoint`). Towers that stayed frozen are not
written again: their identity is, and a run refuses towers that are not the ones it was trained over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from reelseek.checkpoint import load_run, save_run
from reelseek.config import MethodConfig
from reelseek.errors import CheckpointError, ModelError
from reelseek.methods import METHODS, build
from reelseek.methods.method import Method
from reelseek.records import Backbone

KIND = "reelseek-method"


def pick_device(device: str) -> str:
    """ "auto" is CUDA if there is one, else the processor. Raises ModelError for a device this machine lacks."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("--device cuda: torch sees no CUDA device here. Use --device cpu.")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ModelError("--device mps: torch sees no Metal device here. Use --device cpu.")
    return device


def load_backbone(name: str, *, device: str = "cpu") -> Backbone:
    """The towers of a name: "offline", or a CLIP or SigLIP model by hub name or folder."""
    if name == "offline":
        from reelseek.encoders.offline import OfflineBackbone

        return OfflineBackbone().to(device)
    from reelseek.encoders.clip import load_clip

    # On processors with the instructions bfloat16 is several times faster; it is probed and compared before use.
    return load_clip(name, device=device, precision="auto" if device == "cpu" else "float32")


def load(name: str, *, device: str = "cpu") -> Method:
    """A method by run folder, or a zero-shot method by the name or folder of a backbone.

    Raises CheckpointError for a damaged run, ModelError for a model that cannot be found.
    """
    if is_run(Path(name)):
        return _load_run(Path(name), device)
    backbone = load_backbone(name, device=device)
    return build(MethodConfig(name="zero-shot", backbone=name), backbone).eval()


def is_run(folder: Path) -> bool:
    """Whether a folder was written by `save`."""
    try:
        return bool(json.loads((folder / "config.json").read_text()).get("kind") == KIND)
    except (OSError, ValueError, AttributeError):
        return False


def run_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """The settings that a run was trained with, by section. Raises CheckpointError for a damaged run."""
    settings: dict[str, dict[str, Any]] = load_run(folder)[0]["run"]
    return settings


def save(method: Method, folder: Path, *, run: Mapping[str, Any], extra: Mapping[str, str] | None = None) -> None:
    """Write a method: its configuration, what it was trained on, its weights, a model card.

    run: the settings it was trained with, kept as provenance. extra: further small text files by name.
    """
    towers_changed = bool(run.get("train", {}).get("backbone_learning_rate", 0.0))
    tensors = {
        key: value.detach().cpu().contiguous()
        for key, value in method.state_dict().items()
        if towers_changed or not key.startswith("backbone.")
    }
    settings = dict(method.config)
    if Path(settings["backbone"]).is_dir():  # found again from any working directory
        settings["backbone"] = str(Path(settings["backbone"]).resolve())
    config = {
        "kind": KIND,
        "method": settings,
        "backbone_id": method.backbone_id,
        "backbone_trained": towers_changed,
        "trained_on": method.trained_on,
        "run": dict(run),
    }
    save_run(folder, config, tensors, extra={"README.md": model_card(method, run), **(extra or {})})


def model_card(method: Method, run: Mapping[str, Any]) -> str:
    """A model card with front matter: what this is, what it saw, how to use it."""
    trained = sum(p.numel() for key, p in method.named_parameters() if not key.startswith("backbone."))
    return f"""---
library_name: reelseek
tags: [text-video-retrieval, {method.name}]
---
# {method.name} over {method.backbone.name}

* Trained on: {method.trained_on}
* Trained parameters: {trained:,}
* Data: `{run.get("data", {}).get("name", "unknown")}`, seed {run.get("train", {}).get("seed", "unknown")}

Use it: `reelseek index FOLDER --index DIR --model <this folder>`, then `reelseek search "..." --index DIR`.
The full settings of the run are in `config.json`.
"""


def _load_run(folder: Path, device: str) -> Method:
    config, tensors = load_run(folder)
    known = set(asdict(MethodConfig()))
    settings = config.get("method", {})
    if settings.get("name") not in METHODS or not set(settings) <= known:
        raise CheckpointError(f"{folder}: its method {settings.get('name')!r} is not one that this version knows.")
    backbone = load_backbone(settings["backbone"], device=device)
    if not config["backbone_trained"] and backbone.id != config["backbone_id"]:
        raise CheckpointError(
            f"{folder}: it was trained over other towers ({settings['backbone']}, {config['backbone_id']}) than the "
            f"ones installed now ({backbone.id}). Install the same versions, or train again."
        )
    method = build(replace(MethodConfig(), **settings), backbone).to(device)
    _load_weights(method, tensors, folder, with_backbone=config["backbone_trained"])
    method.trained_on = str(config.get("trained_on", "unknown"))
    return method.eval()


def _load_weights(method: Method, tensors: Mapping[str, torch.Tensor], folder: Path, *, with_backbone: bool) -> None:
    wanted = {key for key in method.state_dict() if with_backbone or not key.startswith("backbone.")}
    missing, unexpected = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if missing or unexpected:
        raise CheckpointError(
            f"{folder}: its weights do not fit the method {method.name!r} (missing: {missing[:3] or 'none'}; "
            f"unexpected: {unexpected[:3] or 'none'}). It is a checkpoint of another method or version."
        )
    try:
        method.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: its weights do not fit ({str(error).splitlines()[-1].strip()}).") from None
