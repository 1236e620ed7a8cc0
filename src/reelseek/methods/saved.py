"""Methods on disk, and models by name: the one place that turns what a user types into a method object.

A run folder holds `config.json` and `model.safetensors` (see `reelseek.checkpoint`). Towers that stayed frozen are not
written again: their identity is, and a run refuses towers that are not the ones it was trained over. Not here: folders
that carry their towers (`reelseek.methods.pretrained`) and weights of other projects (`reelseek.methods.peers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from reelseek.checkpoint import kind_of, load_run, save_run
from reelseek.config import MethodConfig, RunConfig
from reelseek.encoders.small import SmallBackbone
from reelseek.errors import CheckpointError, ConfigError, ModelError
from reelseek.methods import METHODS, build
from reelseek.methods.method import Method
from reelseek.methods.small_folders import is_small, load_small, save_small
from reelseek.methods.text_head import TextHead, base_of, head_of, is_head, load_head
from reelseek.records import Backbone

KIND = "reelseek-method"
HEAD = "text_head."
INSIDE = "./towers"
"""The backbone's name where a run folder holds the towers itself."""


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
    """The towers of a name: "offline", a weights file, small towers by folder, CLIP or SigLIP by hub name or folder."""
    if name == "offline":
        from reelseek.encoders.offline import OfflineBackbone

        return OfflineBackbone().to(device)
    if Path(name).is_file():
        from reelseek.methods.peers import load_towers

        return load_towers(name, device=device)
    if is_small(Path(name)):
        return load_small(Path(name)).to(device)
    from reelseek.encoders.clip import load_clip

    # On processors with the instructions bfloat16 is several times faster; it is compared before use.
    return load_clip(name, device=device, precision="auto" if device == "cpu" else "float32")


def load(name: str, *, device: str = "cpu") -> Method:
    """A method by run folder, by weights file of CLIP4Clip or GARE, or by the hub name of a saved method; by the folder
    of a text head that was trained over one; or a zero-shot method by the name, folder or weights file of a backbone.

    Raises CheckpointError for a damaged run, ModelError for a model that cannot be found or read.
    """
    path = Path(name)
    if is_run(path):
        return load_run_folder(path, device)
    if is_head(path):
        return load_head(path, partial(load, device=device))
    if path.is_file():
        from reelseek.methods.peers import load_file

        return load_file(path, device=device)
    try:
        backbone = load_backbone(name, device=device)
    except ModelError:
        if path.exists() or not _is_hub_run(name):  # the look for towers has brought its config.json
            raise
        from reelseek.methods.pretrained import from_pretrained

        return from_pretrained(name, device=device)
    return build(MethodConfig(name="zero-shot", backbone=name), backbone).eval()


def is_run(folder: Path) -> bool:
    """Whether a folder was written by `save`."""
    return kind_of(folder) == KIND


def run_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """The settings that a run was trained with, by section. Raises CheckpointError for a damaged run."""
    settings: dict[str, dict[str, Any]] = load_run(folder)[0]["run"]
    return settings


def usual_settings(name: str) -> dict[str, dict[str, Any]]:
    """The settings to evaluate a model of this name with, by section: its own, else the defaults. Errors as
    `own_settings`.
    """
    return asdict(RunConfig()) | own_settings(name)


def own_settings(name: str) -> dict[str, dict[str, Any]]:
    """The settings that a run was trained with, or that the authors of a weights file used, by section; empty for a
    model that has none. Raises CheckpointError and ModelError as `load`, but loads no towers.
    """
    name = base_of(name)
    if Path(name).is_file():
        from reelseek.methods.peers import file_settings

        return file_settings(name)
    folder = _run_folder(name)
    return run_settings(folder) if folder else {}


def _run_folder(name: str) -> Path | None:
    """The folder of a run by its path, or of a saved method by its hub name; None for every other model.

    Of a hub repository the rest is fetched only if its config.json is a saved method's.
    """
    path = Path(name)
    if path.exists() or name == "offline":
        return path if is_run(path) else None
    try:
        from reelseek.encoders.hub import find_snapshot
        from reelseek.methods.pretrained import FILES

        is_saved = is_run(find_snapshot(name, ["config.json"]))
        return find_snapshot(name, FILES) if is_saved else None
    except ModelError:  # for `load` to tell
        return None


def save(method: Method, folder: Path, *, run: Mapping[str, Any], extra: Mapping[str, str] | None = None) -> None:
    """Write a method: its configuration, what it was trained on, its weights, a model card.

    run: the settings it was trained with, kept as provenance. extra: further small text files by name.
    """
    settings = dict(method.config)
    towers = Path(settings["backbone"])
    if str(towers) != "offline" and towers.exists():  # found again from any working directory
        settings["backbone"] = str(towers.resolve())
    with_towers = bool(run.get("train", {}).get("backbone_learning_rate", 0.0))
    write_run(method, folder, settings=settings, run=run, with_towers=with_towers, extra=extra or {})


def write_run(
    method: Method,
    folder: Path,
    *,
    settings: Mapping[str, Any],
    run: Mapping[str, Any],
    with_towers: bool,
    extra: Mapping[str, str],
) -> None:
    """Write a run folder. settings: the method's, its backbone by a name that will be found. with_towers: whether
    the towers' weights go with the others because no name leads to them. Small towers go into the folder `towers`,
    which later runs may name as their backbone.
    """
    if isinstance(method.backbone, SmallBackbone):
        save_small(method.backbone, folder / INSIDE)
        settings, with_towers = {**settings, "backbone": INSIDE}, False
    tensors = {
        key: value.detach().cpu().contiguous()
        for key, value in method.state_dict().items()
        if with_towers or not key.startswith("backbone.")
    }
    config = {
        "kind": KIND,
        "method": dict(settings),
        "backbone_id": method.backbone_id,
        "backbone_trained": with_towers,
        "trained_on": method.trained_on,
        "run": {section: values for section, values in run.items() if section != "files"},
        "files": sorted(extra),
    }
    save_run(folder, config, tensors, extra={"README.md": model_card(method, run), **extra})


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


def load_run_folder(folder: Path, device: str) -> Method:
    """The method in a run folder. Raises CheckpointError for one that is damaged or of another version."""
    config, tensors = load_run(folder)
    known = asdict(MethodConfig())
    settings = config.get("method", {})
    if not isinstance(settings, dict) or settings.get("name") not in METHODS:
        raise CheckpointError(f"{folder}: its method is not one that this version knows.")
    for key, value in settings.items():
        if not _fits(value, known.get(key)):
            raise CheckpointError(f"{folder}: this version knows no method.{key} of {value!r}.")
    name = settings.get("backbone", known["backbone"])
    inside = name == INSIDE
    backbone = load_backbone(str(folder / INSIDE) if inside else name, device=device)
    trained, wanted = bool(config.get("backbone_trained")), config.get("backbone_id")
    if inside and backbone.id != wanted:
        raise CheckpointError(
            f"{folder}: its towers ({backbone.id}) are not the ones that it was saved with ({wanted}): writing or "
            "copying was broken off, or a file exchanged."
        )
    if not trained and backbone.id != wanted:
        raise CheckpointError(
            f"{folder}: it was trained over other towers ({name}, {wanted}) than the ones installed now "
            f"({backbone.id}). Install the same versions, or train again."
        )
    if inside:
        settings = settings | {"backbone": str((folder / INSIDE).resolve())}
    try:
        method = build(replace(MethodConfig(), **settings), backbone)
    except ConfigError as error:
        raise CheckpointError(f"{folder}: this version cannot build its method. {error}") from None
    method.text_head = _text_head(tensors, folder)
    method = method.to(device)
    _load_weights(method, tensors, folder, with_backbone=trained)
    method.trained_on = str(config.get("trained_on", "unknown"))
    method.run = config.get("run", {}) | {"files": _small_files(folder, config.get("files", []))}
    return method.eval()


def _fits(value: object, usual: object) -> bool:
    """Whether a setting is of its default's type; a whole number is one with a fraction too."""
    return type(value) is type(usual) or (type(value) is int and isinstance(usual, float))


def _text_head(tensors: Mapping[str, torch.Tensor], folder: Path) -> TextHead | None:
    own = {key.removeprefix(HEAD): value for key, value in tensors.items() if key.startswith(HEAD)}
    try:
        return head_of(own) if own else None
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}.") from None


def _small_files(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The further text files of a run by name. Raises CheckpointError for one that is gone, or lies elsewhere."""
    found = {}
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{folder}: it names a file {name!r} outside itself.")
        try:
            found[name] = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise CheckpointError(f"{folder}: its file {name} is gone or damaged.") from None
    return found


def _is_hub_run(name: str) -> bool:
    """Whether the local cache holds the config.json of a hub repository that `save_pretrained` wrote."""
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, "config.json")
    except (ImportError, ValueError):  # without the package, or no possible name
        return False
    return isinstance(found, str) and is_run(Path(found).parent)


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
