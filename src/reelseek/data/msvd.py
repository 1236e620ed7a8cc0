"""MSVD (Chen and Dolan 2011): 1,970 clips with about 40 captions each, from its files in the form that CLIP4Clip uses.

Read anywhere below one folder:
  train_list.txt, val_list.txt, test_list.txt: clip ids such as -4wsuPCjDBc_5_15, one a line, with or without .avi;
  raw-captions.pkl ({id: [[word, ...], ...]}), or captions_msvd.json ({id: [caption, ...]}), or another JSON file by
  `data.captions`, also as a list of {"id" or "video": name, "caption": text or list of texts};
  the clips as <id>.avi or with any other video ending.
The pickle is read without running anything that it says (`reelseek.data.plain_pickle`).
Every caption is a query with one right clip: the multi-caption protocol. Evaluations with one caption a clip are
another task. Tested on miniatures in these formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelseek.config import DataConfig
from reelseek.data.files import Caption, Files, listed_notes, numbered, read_json, without_ending
from reelseek.data.pairs import Splits, Standard
from reelseek.data.plain_pickle import read_plain_pickle
from reelseek.errors import DataError

CORPUS = "msvd"
CAPTIONS = ("raw-captions.pkl", "captions_msvd.json")
TEST = Standard("MSVD test", videos=670, texts=27763)
PUBLISHED = {"train": 1200, "val": 100, "test": 670}


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The splits below `data.root`; `data.captions` names another captions file."""
    return load_msvd(config.root, config.captions)


def load_msvd(root: str | Path, captions: str = "") -> Splits:
    """1,200 / 100 / 670 clips; the test split has 27,763 captions, at most 81 of one clip.

    captions: name or path of the captions file; by default the first of `CAPTIONS` that is there.
    A part for learning of which no clip is on disk is None.
    Raises DataError for absent or damaged files, lists that share clips, or no test clip.
    """
    files = Files("MSVD", root)
    lists = {part: tuple(map(without_ending, files.lines(f"{part}_list.txt"))) for part in PUBLISHED}
    own = Path(captions) if captions else None
    path = own if own is not None and own.is_file() else files.path(*([captions] if captions else CAPTIONS))
    notes = {part: [*mine, f"captions of {path.name}"] for part, mine in listed_notes(lists, PUBLISHED).items()}
    return files.splits("msvd", lists, read_captions(path), corpus=CORPUS, standard=TEST, notes=notes)


def read_captions(path: Path) -> list[Caption]:
    """The captions of one file, clip by clip in its order. Raises DataError for anything but ids and captions."""
    content = read_plain_pickle(path) if path.suffix == ".pkl" else read_json(path)
    return numbered(
        (without_ending(clip), text) for clip, texts in _entries(path, content) for text in _texts(path, clip, texts)
    )


def _entries(path: Path, content: Any) -> Iterator[tuple[str, Any]]:
    """Clip name and what the file has for it, whichever form the file has."""
    if isinstance(content, dict):
        yield from content.items()
        return
    if not isinstance(content, list):
        raise DataError(f"{path}: is neither an object of clip ids nor a list of clips.")
    for entry in content:
        name = (entry.get("id") or entry.get("video")) if isinstance(entry, dict) else None
        if not isinstance(name, str) or "caption" not in entry:
            raise DataError(f"{path}: a clip without `id` (or `video`) and `caption`: {str(entry)[:80]}.")
        yield name, entry["caption"]


def _texts(path: Path, clip: Any, texts: Any) -> Iterator[str]:
    """A clip's captions, each a string or a list of words."""
    for text in [texts] if isinstance(texts, str) else texts if isinstance(texts, list) else [None]:
        words = [text] if isinstance(text, str) else text
        if not isinstance(clip, str) or not isinstance(words, list | tuple) or not all(type(w) is str for w in words):
            raise DataError(f"{path}: the captions of {str(clip)[:40]!r} are not texts: {str(texts)[:80]}.")
        yield " ".join(words)
