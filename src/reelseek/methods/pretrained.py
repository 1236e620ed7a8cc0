"""Methods as folders that need nothing beside them: for moving, giving away, and loading from a hub.

A run of `reelseek train` names its frozen towers; here CLIP and SigLIP towers are written beside the rest, into the
folder `towers`, as small ones are in every run. The offline towers come with their packages and stay there. Not here:
pushing to a hub (its own client does that).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from reelseek.checkpoint.convert import ConvertReport, convert
from reelseek.checkpoint.layouts import METHOD_LAYOUTS, detect_layout
from reelseek.checkpoint.read import read_weights
from reelseek.config import RunConfig
from reelseek.encoders.clip import ClipBackbone
from reelseek.encoders.hub import find_snapshot, write_folder
from reelseek.errors import CheckpointError
from reelseek.methods.method import Method
from reelseek.methods.peers import Reading, load_file, method_of
from reelseek.methods.saved import INSIDE, is_run, load_run_folder, write_run

FILES = ("*.json", "model.safetensors", "README.md", "towers/*.json", "towers/*.txt", "towers/*.safetensors")
"""What is fetched of a repository: none of it can hold code."""


class Saved(NamedTuple):
    """What `save_pretrained` wrote."""

    folder: Path
    files: list[Path]


def save_pretrained(method: Method, folder: Path | str) -> Saved:
    """Write a method with its towers and a model card; `load` and `from_pretrained` read the folder, wherever it lies.

    An older one in the folder is replaced. Raises CheckpointError where it cannot be written, and for a folder that
    holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not is_run(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} holds something else: name a new folder for the method.")
    settings = dict(method.config)
    run = dict(method.run) or asdict(RunConfig()) | {"method": settings}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(method.backbone, ClipBackbone):  # the offline towers come with their packages
            towers = method.backbone
            write_folder(towers.model, towers.tokenizer, towers.preprocess, folder / INSIDE)
            settings["backbone"] = INSIDE
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror or error}).") from None
    write_run(method, folder, settings=settings, run=run, with_towers=False, extra=run.get("files", {}))
    return Saved(folder, sorted(path for path in folder.rglob("*") if path.is_file()))


def from_pretrained(name: Path | str, *, device: str = "cpu") -> Method:
    """A method that `save_pretrained` or `train` wrote, by its folder, or by the name of a hub repository of its files.

    Raises CheckpointError for a folder or repository that holds something else or is damaged, HubUnreachable for a name
    that neither the local cache nor the hub gives.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = find_snapshot(str(name), FILES)
    if not is_run(folder):
        raise CheckpointError(
            f"{name} holds no method that reelseek saved: `reelseek.load` reads CLIP and other weights."
        )
    return load_run_folder(folder, device)


def convert_file(source: Path | str, folder: Path | str, *, reading: Reading | None = None) -> ConvertReport:
    """Write a weights file as a folder: CLIP alone as transformers has it, CLIP4Clip and GARE as a saved method.

    Raises as `load_file`, `save_pretrained` and `reelseek.checkpoint.convert.convert` do.
    """
    reading = reading or Reading()
    layout = detect_layout(read_weights(source))
    if layout not in METHOD_LAYOUTS:
        method_of(source, layout, reading)
        return convert(source, folder, activation=reading.activation)
    saved = save_pretrained(load_file(source, reading=reading), folder)
    return ConvertReport(layout=layout, missing=[], unexpected=[], written=saved.files)
