"""Data sets in the format of Hugging Face's `datasets` package: a folder, or a name on the hub.

A folder may be one of `save_to_disk`, or hold Parquet, Arrow, JSON or CSV files, or videos with a metadata file, as
`load_dataset` reads them. No loading script is ever run. The video column holds paths, bytes, or both; bytes are
written to the user's cache under a hash of their content. Not here: decoding (the package's own decoder stays off).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from reelseek.config import DataConfig
from reelseek.data import user_folder
from reelseek.data.folder import SPLIT_NAMES
from reelseek.data.pairs import Splits
from reelseek.data.problems import Problem
from reelseek.data.rows import KEYS, Row, splits_of
from reelseek.errors import ConfigError, DataError
from reelseek.video.suffixes import VIDEO_SUFFIXES

VIDEO_COLUMNS = ("video", "video_path", "path", "file", "file_name", "filename", "mp4", "webm", "clip", "bytes")


def from_config(config: DataConfig, progress: Callable[[int, int], None] | None) -> Splits:
    """The data set that `data.root` names; see `reelseek.data.load`."""
    return load_huggingface(
        config.root,
        video_column=config.video_column,
        caption_column=config.caption_column,
        seed=config.seed,
        progress=progress,
    )


def load_huggingface(
    root: str,
    *,
    video_column: str = "",
    caption_column: str = "",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Splits:
    """Read a data set from a folder or, by name, from the hub or its cache.

    video_column, caption_column: guessed from their names (`VIDEO_COLUMNS`, `reelseek.data.rows.KEYS`) where empty. A
    caption is a text or a list of texts. A path is taken from the folder on, and is the id of its video. Rows of the
    splits train, validation and test count, also of one saved alone; where the data set is train alone, or has no
    split, videos are divided 80/10/10 by a hash and `seed`. Splits of other names are left out and named where there is
    a test beside them.
    progress: called with (rows done, in all). Raises ConfigError for a column that does not exist or cannot be
    guessed, and for a data set of several configurations, DataError where the package is not installed, nothing can be
    read, no row has a video, or a split of another name may be the test.
    """
    if not root:
        raise DataError("hf: set data.root to a folder with a data set, or to its name on the Hugging Face hub.")
    parts, others = _parts(root)
    columns = next(iter(parts.values())).column_names
    video = _column("video", video_column, VIDEO_COLUMNS, columns)
    caption = _column("caption", caption_column, KEYS, columns)
    problems: Counter[Problem] = Counter()
    rows = _rows(root, parts, video, caption, problems, progress)
    corpus = f"hf-{_digest(os.path.realpath(root).encode() if Path(root).is_dir() else root.encode())}"
    notes = [f"left out the splits {', '.join(others)}"] if others else []
    return splits_of(Path(root).name, rows, corpus=corpus, seed=seed, problems=problems, notes=notes)


def _parts(root: str) -> tuple[dict[str, Any], list[str]]:
    """The splits of the data set by the names in `SPLIT_NAMES` (without splits under ""), and the names of the others.

    Raises DataError where a split of another name may be the test: none of the others is, or it was saved alone.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise DataError(f'hf: the datasets package is needed: pip install "reelseek[hf]" ({error}).') from error
    saved = any(Path(root, name).is_file() for name in ("dataset_dict.json", "state.json"))
    try:
        held = datasets.load_from_disk(root) if saved else datasets.load_dataset(root)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error) or type(error).__name__
        if "Config name is missing" in reason:
            choices = reason.partition("available configs: ")[2].partition("\n")[0]
            raise ConfigError(
                f"hf: {root!r} has several configurations: {choices}. Save the one that you mean to a folder,\n"
                f"    import datasets\n    datasets.load_dataset({root!r}, CONFIGURATION).save_to_disk(FOLDER)\n"
                "and set data.root to that folder."
            ) from error
        raise DataError(f"hf: {root!r} cannot be read as a data set ({reason}).") from error
    if not isinstance(held, dict):
        # A split saved alone knows its name, "test" or "test[:100]".
        name = str(held.split or "").partition("[")[0]
        words = {SPLIT_NAMES.get(word) for word in re.split(r"[^a-z]+", name.lower())}
        if name not in SPLIT_NAMES and words & {"val", "test"}:
            raise DataError(f"hf: {root!r} is the split {name!r} alone. {_named_anew(root, name)}")
        return {name if SPLIT_NAMES.get(name) in ("val", "test") else "": held}, []
    parts = {name: part for name, part in held.items() if name in SPLIT_NAMES}
    if not parts or not all(isinstance(part, datasets.Dataset) for part in parts.values()):
        raise DataError(f"hf: {root!r} has the splits {', '.join(held)}; it needs train, validation or test.")
    others = [name for name in held if name not in parts]
    if others and "test" not in parts:
        raise DataError(
            f"hf: {root!r} has the splits {', '.join(held)}: no test, and {', '.join(others)}, of which one may be it. "
            + _named_anew(root, others[0])
        )
    # The package calls the only split of plain files train.
    return ({"": parts["train"]} if set(parts) == {"train"} else parts), others


def _named_anew(root: str, name: str) -> str:
    return (
        f"Save what you mean to a folder under the names train, validation and test, such as {name!r} as the test "
        "(import datasets; datasets.DatasetDict(train=..., test=...).save_to_disk(FOLDER)), and set data.root to it."
    )


def _column(what: str, asked: str, guesses: Sequence[str], columns: Sequence[str]) -> str:
    found = next((name for name in ([asked] if asked else guesses) if name in columns), None)
    if found is None:
        wanted = f"no column {asked!r}" if asked else f"no column is plainly the {what}"
        raise ConfigError(f"hf: {wanted}; set data.{what}_column to one of {', '.join(columns)}.")
    return found


def _rows(
    root: str,
    parts: dict[str, Any],
    video: str,
    caption: str,
    problems: Counter[Problem],
    progress: Callable[[int, int], None] | None,
) -> Iterator[Row]:
    total, done = sum(len(part) for part in parts.values()), 0
    for name, part in parts.items():
        if {video, caption} - set(part.column_names):
            raise DataError(f"hf: the split {name!r} of {root!r} lacks the column {video!r} or {caption!r}.")
        split = SPLIT_NAMES.get(name, "")
        part = part.select_columns([video, caption])
        feature = part.features[video]
        if hasattr(feature, "decode"):
            # As stored: the package's decoder is another library, and would hand out frames instead of a file.
            part = part.cast_column(video, type(feature)(decode=False))
        for number, values in enumerate(part):
            captions = values[caption] if isinstance(values[caption], list) else [values[caption]]
            texts = tuple(text for text in captions if isinstance(text, str))
            video_id, path = _file(root, values[video], f"{name or 'row'}{number}")
            problems[Problem("captions that are no text", split, video_id)] += len(captions) - len(texts)
            done += 1
            if progress is not None:
                progress(done, total)
            yield Row(video_id, path, texts, split)


def _file(root: str, value: object, otherwise: str) -> tuple[str, Path | None]:
    """The id and the file of what a video column holds; no file where the path leads nowhere."""
    content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
    name = name if isinstance(name, str) else ""
    if isinstance(content, bytes) and content:
        suffix = Path(name).suffix.lower()
        path = user_folder() / "hf" / f"{_digest(content)}{suffix if suffix in VIDEO_SUFFIXES else '.mp4'}"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            part.write_bytes(content)
            os.replace(part, path)
        return path.stem, path
    if not name:
        return otherwise, None
    if not Path(root).is_dir():
        return name, Path(name) if Path(name).is_file() else None
    path = Path(root, name)
    return _below(root, name), path if path.is_file() else None


def _below(root: str, name: str) -> str:
    """The place below the folder that a whole path leads to: it stays when the folder moves; other names as they are.

    The package makes whole paths of those in a metadata file.
    """
    for folder in (os.path.abspath(root), os.path.realpath(root)):
        if Path(name).is_relative_to(folder):
            return Path(name).relative_to(folder).as_posix()
    return name


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
