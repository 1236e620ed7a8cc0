"""The card of an index: which model made it, with which settings, and where its tables are. One small JSON file.

Read without a lock; written atomically, so that it names whole tables at any moment.
Not here: the tables (`reelseek.index.store`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reelseek.config import IndexConfig
from reelseek.errors import IndexError_, IndexMismatch, NotAnIndex
from reelseek.index.disk import LOCK, writes

CARD = "index.json"
MARKS = "marks.jsonl"
FORMAT = 2
"""2: the tables may lie in a folder of their own. An index that was never switched is still written as 1."""


@dataclass(frozen=True)
class IndexCard:
    """An index directory and its card. model: name, id, backbone, and what the caller of `update` gave with them.

    folder: where the tables are below the directory; "" is the directory itself. previous: the card that this one took
    the place of when the model was changed.
    """

    directory: Path
    model: Mapping[str, Any]
    config: IndexConfig
    width: int
    created: str
    folder: str = ""
    previous: IndexCard | None = None

    @property
    def tables(self) -> Path:
        """The folder that the tables lie in."""
        return self.directory / self.folder


def open_index(directory: Path) -> IndexCard:
    """Read the card of an index; nothing is locked or written.

    Raises NotAnIndex for any other directory, IndexError_ for an index of a newer format.
    """
    try:
        card = json.loads((directory / CARD).read_text(encoding="utf-8"))
        version = int(card["format"])
        if version > FORMAT:
            raise IndexError_(
                f"{directory}: made by a newer reelseek (index format {version}, this one reads up to {FORMAT}). "
                "Install the newer version."
            )
        return _card_of(directory, card)
    except (FileNotFoundError, NotADirectoryError):
        raise NotAnIndex(f"{directory}: there is no index here. Make one with `reelseek index`.") from None
    except OSError as error:
        raise IndexError_(f"{directory}: the index cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise NotAnIndex(f"{directory}: {CARD} is not the card of an index ({error}).") from None


def _card_of(directory: Path, card: Mapping[str, Any]) -> IndexCard:
    folder, previous = str(card.get("folder", "")), card.get("previous")
    if folder and not is_folder_name(folder):
        raise ValueError(f"{folder!r} is no folder of an index")
    return IndexCard(
        directory=directory,
        model=card["model"],
        config=IndexConfig(**card["config"]),
        width=int(card["width"]),
        created=card["created"],
        folder=folder,
        previous=None if previous is None else _card_of(directory, previous),
    )


def is_folder_name(name: str) -> bool:
    """Whether a name below an index is that of another model's tables."""
    return re.fullmatch(r"model-[0-9a-f]+", name) is not None


def head_folder(index: IndexCard) -> Path | None:
    """Where the text head of an index's model is, below the index; None for a model without.

    Raises NotAnIndex for a name that is no folder of an index.
    """
    name = index.model.get("head")
    if name is None:
        return None
    if not isinstance(name, str) or re.fullmatch(r"head-[0-9a-f]+", name) is None:
        raise NotAnIndex(f"{index.directory}: {name!r} is no head of an index.")
    return index.directory / name


def drop_heads(index: IndexCard) -> None:
    """Delete the text heads that neither this card nor the one before it names. Call it under the lock."""
    cards = [index, *([index.previous] if index.previous is not None else [])]
    kept = {folder.resolve() for folder in map(head_folder, cards) if folder is not None}
    kept |= {Path(str(card.model.get("source", ""))).resolve() for card in cards}
    with writes(index.directory):
        for path in index.directory.glob("head-*"):
            if path.resolve() not in kept and path.is_dir():
                shutil.rmtree(path)


def check_model(index: IndexCard, method_id: str, method_name: str) -> None:
    """Raise IndexMismatch, naming both models, unless the index was made by this one."""
    if index.model["id"] != method_id:
        raise IndexMismatch(
            f"{index.directory}: was made by {index.model.get('name')} ({index.model['id']}, trained on "
            f"{index.model.get('trained_on', 'an unknown set')}), not by {method_name} ({method_id}). "
            "Use that model, or name another directory."
        )


def options_of(config: IndexConfig, other: IndexConfig) -> str:
    """The settings of `config` that `other` has not, as options of `reelseek index`: "--fps 2 --keyframes yes"."""
    values = [(name, value) for name, value in asdict(config).items() if value != getattr(other, name)]
    words = {True: "yes", False: "no"}
    told = [(name.replace("_", "-"), words[value] if isinstance(value, bool) else value) for name, value in values]
    return " ".join(f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}" for name, value in told)


def has_card(place: Path) -> bool:
    """Whether an index lies here, whatever else a place may be."""
    return (place / CARD).is_file()


def is_index(directory: Path) -> bool:
    """Whether `directory` holds an index; False for a free place. Raises NotAnIndex when something else is there."""
    if has_card(directory):
        return True
    if directory.exists() and (not directory.is_dir() or {*os.listdir(directory)} - {LOCK, MARKS, f"{CARD}.part"}):
        raise NotAnIndex(f"{directory}: holds other things than an index. Name a new or an empty directory.")
    return False


def create(index: IndexCard) -> None:
    """Write the card of an index: of a new one, or in the place of the last one, atomically."""
    card = {"format": FORMAT if index.folder or index.previous else 1, **_plain(index)}
    part = index.directory / f"{CARD}.part"
    with writes(index.directory):
        with part.open("w", encoding="utf-8") as file:
            json.dump(card, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        part.replace(index.directory / CARD)


def _plain(index: IndexCard) -> dict[str, Any]:
    card: dict[str, Any] = {
        "model": dict(index.model),
        "config": asdict(index.config),
        "width": index.width,
        "created": index.created,
    }
    if index.folder:
        card["folder"] = index.folder
    if index.previous is not None:
        card["previous"] = _plain(index.previous)
    return card
