"""Which method object a command works with: the one that made the index, or the one asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelseek.errors import CheckpointError, IndexMismatch, ModelError

if TYPE_CHECKING:
    from reelseek.index.cards import IndexCard
    from reelseek.methods.method import Method

OFFLINE = "offline"
WEIGHTS_FILE = re.compile(r"\.(pt|pth|bin|safetensors)(\.\d+)?$")
"""The end of a weights file's name: CLIP4Clip's have the number of the epoch behind it."""


def load_method(name: str, device: str) -> Method:
    """A run folder or saved method, a weights file, a backbone by name or folder, or the offline default.

    Raises CheckpointError for a run that is damaged or not finished, ModelError for a model that cannot be found.
    """
    from reelseek.encoders.hub import is_place
    from reelseek.methods.saved import is_run, load, pick_device

    folder = Path(name)
    if folder.is_dir():
        from reelseek.index.cards import has_card

        if has_card(folder):
            raise ModelError(f"{name}: is an index, and no model. Name the run or the model that made it.")
    if (folder / "state.safetensors").is_file() and not is_run(folder):
        raise CheckpointError(f"{name}: its training has not finished; the same `reelseek train` command goes on.")
    if not folder.exists() and (WEIGHTS_FILE.search(name) or is_place(name)):
        raise ModelError(
            f"{name}: there is no such folder or file. Name a run of `reelseek train`, a weights file, a model, or "
            "offline."
        )
    return load(name, device=pick_device(device))


def usual_options(model: str, sections: Sequence[str]) -> dict[str, object]:
    """Dotted settings of a run folder, or of the authors of a weights file; the usual ones for a model by name."""
    from reelseek.app.settings import flat_dict
    from reelseek.methods.saved import usual_settings

    settings = usual_settings(model)
    return flat_dict({section: settings[section] for section in sections})


def own_options(model: str, sections: Sequence[str]) -> dict[str, object]:
    """The same, but nothing for a model by name."""
    from reelseek.app.settings import flat_dict
    from reelseek.methods.saved import own_settings

    settings = own_settings(model)
    return flat_dict({section: settings[section] for section in sections if section in settings})


def method_for_index(directory: Path, asked: str, device: str) -> tuple[Method, str]:
    """The method to index with and the name it was loaded by: what was asked for, the index's own, or offline."""
    from reelseek.index.cards import is_index, open_index

    if directory.exists() and is_index(directory):
        index = open_index(directory)
        source = asked or str(index.model["source"])
        return method_of_index(index, source, device), source
    source = asked or OFFLINE
    return load_method(source, device), source


def method_of_index(index: IndexCard, asked: str, device: str) -> Method:
    """The method that made an index. Raises IndexMismatch if the one asked for, or found in its place, is another."""
    source = asked or str(index.model["source"])
    if not source:
        raise IndexMismatch(
            f"{index.directory} was made from Python by {index.model['name']} ({index.model['id']}): name the model, "
            "or its run folder, with --model."
        )
    from reelseek.index.cards import head_folder
    from reelseek.methods.saved import pick_device
    from reelseek.methods.text_head import is_head, load_head

    device = pick_device(device)
    head = head_folder(index)
    try:
        if head is None or is_head(Path(source)):
            method = load_method(source, device)
        else:
            method = load_head(head, lambda name: load_method(name, device), base=source)
    except (CheckpointError, ModelError) as error:
        if asked:
            raise
        raise IndexMismatch(
            f"{index.directory} was made by {index.model['name']} from {source}, which cannot be loaded: "
            f"{str(error).removesuffix('.')}. If it has moved, name its new place with --model."
        ) from None
    if method.id != index.model["id"]:
        raise IndexMismatch(
            f"{index.directory} was made by {index.model['name']} ({index.model['id']}); {source} is {method.name} "
            f"({method.id}). Name the model that made it with --model, or make a new index."
        )
    return method


def model_card(method: Method, source: str, *, head: str = "") -> dict[str, Any]:
    """What an index keeps of its model: enough to name it, to say what it was trained on, and to load it again.

    source: by what name it is loaded, without its head. head: name of the folder of its text head below the index.
    """
    from reelseek.methods.saved import is_run

    # The default may share its name with a folder that is not a run: see `reelseek.methods.saved.load`.
    is_place = os.path.exists(source) and (source != OFFLINE or is_run(Path(source)))
    return {
        "name": f"{method.name} over {method.backbone.name}" + (", taught" if head else ""),
        **({"head": head} if head else {}),
        "source": str(Path(source).resolve()) if is_place else source,
        "backbone": method.backbone.name,
        "trained_on": method.trained_on,
    }
