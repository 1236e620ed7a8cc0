"""WebDataset shards: plain .tar files of samples, each a video and its captions under one key.

A member is called key.ending; the key goes up to the first dot of the file name, or, where what follows is no ending of
a video or of captions but its last part is, up to the last (keys such as 0001_00.00.51.926). The video ends in one of
`VIDEO_SUFFIXES`, the captions in txt or cap (one caption) or json (a text, a list of texts, or an object with one of
`reelseek.data.rows.KEYS`). Other members are counted.
Shards are unpacked once into the user's cache, file by file: names in a shard never become names on disk, and only
plain files count (no links, devices or sparse files). Not here: compressed shards, decoding.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from reelseek.config import DataConfig
from reelseek.data import user_folder
from reelseek.data.folder import SPLIT_NAMES
from reelseek.data.pairs import Splits
from reelseek.data.problems import Problem, in_words
from reelseek.data.rows import KEYS, Row, splits_of
from reelseek.data.writing import replace_text
from reelseek.errors import DataError
from reelseek.video.suffixes import VIDEO_SUFFIXES

CAPTIONS = (".txt", ".cap", ".json")
ENDINGS = VIDEO_SUFFIXES.union(CAPTIONS)
READING = 2
"""Counts the ways in which shards were read; what an older one unpacked is unpacked again."""
LONGEST_TEXT = 1 << 20
"""Bytes of a caption file that are read; a longer one is no caption."""
NO_CAPTIONS = frozenset({"members that are no plain files", "second videos of a sample"})
"""What is wrong in a shard and loses no caption."""

Samples = dict[str, dict[str, Any]]


def from_config(config: DataConfig, progress: Callable[[int, int], None] | None) -> Splits:
    """The shards below the folder that settings name; see `reelseek.data.load`."""
    return load_webdataset(config.root, seed=config.seed, progress=progress)


def load_webdataset(root: str | Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Splits:
    """Read all .tar files below a folder, unpacking those that are new or changed.

    A shard's split is the first word of its name (train-000000.tar) if that is train, val, test or the like, else the
    nearest folder around it that is called so; where no shard has one, or all are train, videos are divided 80/10/10 by
    a hash of their keys and `seed`. A video id is the shard's path without its ending, a slash, and the key.
    progress: called with (shards done, in all).
    Raises DataError if there is no shard, one is in no split where others are, one is damaged or too large for the
    disk, or no sample is complete.
    """
    folder = Path(root) if str(root) else Path("-")
    if not folder.is_dir():
        raise DataError(f"webdataset: {str(root)!r} is no folder; set data.root to the folder with the .tar files.")
    shards = sorted(path for path in folder.rglob("*.tar") if path.is_file())
    if not shards:
        raise DataError(f"webdataset: no .tar file below {folder}. Compressed shards must be decompressed first.")
    problems: Counter[Problem] = Counter()
    aside: Counter[str] = Counter()
    rows, others = [], 0
    for number, (shard, split) in enumerate(zip(shards, _splits(folder, shards), strict=True), 1):
        inside = shard.relative_to(folder)
        place, index = _unpacked(shard)
        others += index["others"]
        for what, count in index["problems"].items():
            if what in NO_CAPTIONS:
                aside[what] += count
            else:
                problems[Problem(what, split)] += count
        for key, sample in index["samples"].items():
            if not sample["video"]:
                problems[Problem("samples without a video", split)] += 1
                continue
            path = place / sample["video"]
            video = f"{inside.with_suffix('').as_posix()}/{key}"
            rows.append(Row(video, path if path.is_file() else None, tuple(sample["captions"]), split))
        if progress is not None:
            progress(number, len(shards))
    corpus = f"webdataset-{_digest(str(folder.resolve()))}"
    notes = [f"{others:,} members that are neither video nor captions left out"] if others else []
    notes += in_words(aside)
    return splits_of(folder.resolve().name, rows, corpus=corpus, seed=seed, problems=problems, notes=notes)


def _splits(folder: Path, shards: Sequence[Path]) -> list[str]:
    """The split of every shard; "" throughout where the names say none, or train alone, which leaves all to divide."""
    splits = [_split(shard.relative_to(folder)) for shard in shards]
    others = [shard for shard, split in zip(shards, splits, strict=True) if not split]
    if others and any(splits):
        raise DataError(
            f"webdataset: {others[0]} is in no split, and other shards are ({len(others):,} of {len(shards):,} are in "
            "none). Begin its name with train, val or test, put it into a folder called so, or take it out of "
            f"{folder}."
        )
    return [""] * len(shards) if set(splits) == {"train"} else splits


def _split(shard: Path) -> str:
    """The split that a shard's path below the folder names, the last part first; "" for none."""
    word = re.match(r"[a-z]*", shard.name.lower())
    names = [word[0] if word else "", *(name.lower() for name in shard.parts[-2::-1])]
    return next((SPLIT_NAMES[name] for name in names if name in SPLIT_NAMES), "")


def _unpacked(shard: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a shard's videos and what it holds; unpacked where that was not done, or not to the end.

    What was unpacked before the shard changed is removed.
    """
    facts = shard.stat()
    of_shard = user_folder() / "webdataset" / _digest(str(shard.resolve()))
    folder = of_shard / _digest(f"{READING} {facts.st_size} {facts.st_mtime_ns}")
    if (folder / "index.json").is_file():
        index: dict[str, Any] = json.loads((folder / "index.json").read_text("utf-8"))
        return folder, index
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < facts.st_size:
        raise DataError(f"{shard}: holds {facts.st_size:,} bytes, more than is free below {folder}.")
    problems: Counter[str] = Counter()
    samples: Samples = {}
    others = 0
    try:
        with tarfile.open(shard, "r:") as archive:
            for number, member in enumerate(archive):
                others += not _read_member(archive, member, number, folder, samples, problems)
            _check_end(shard, archive.offset)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{shard}: is damaged, or no plain .tar file ({error}); copy or download it again.") from error
    index = {"shard": str(shard), "samples": samples, "problems": dict(problems), "others": others}
    replace_text(folder / "index.json", json.dumps(index))
    for older in of_shard.iterdir():
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)
    return folder, index


def _check_end(shard: Path, offset: int) -> None:
    """Raise tarfile.ReadError unless zeros or nothing follow the last member; tarfile itself ends at any bad header."""
    with shard.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"bad or cut header at byte {offset:,}")


def _read_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    number: int,
    folder: Path,
    samples: Samples,
    problems: Counter[str],
) -> bool:
    """Take one member into `samples`; a video goes to a file that is called by the member's number.

    False for a file that is neither a video nor captions.
    """
    if member.isdir():
        return True
    if not member.isfile() or member.issparse():
        problems["members that are no plain files"] += 1
        return True
    name = PurePosixPath(member.name)
    stem, _, ending = name.name.partition(".")
    suffix = f".{ending.lower()}"
    if suffix not in ENDINGS:
        stem, suffix = name.stem, name.suffix.lower()
    if suffix not in ENDINGS:
        return False
    sample = samples.setdefault(str(name.parent / stem), {"video": "", "captions": [], "from": ""})
    source = archive.extractfile(member)
    if source is None:
        raise tarfile.ReadError(f"{member.name} cannot be read")
    if suffix in VIDEO_SUFFIXES:
        if sample["video"]:
            problems["second videos of a sample"] += 1
            return True
        sample["video"] = f"{number:06d}{suffix}"
        _copy(source, folder / sample["video"], member)
    elif member.size > LONGEST_TEXT:
        problems["caption files that are too long"] += 1
    elif not sample["from"] or CAPTIONS.index(suffix) < CAPTIONS.index(sample["from"]):
        captions = _captions(source.read(), suffix)
        if captions is None:
            problems["caption files that cannot be read"] += 1
        else:
            sample.update({"captions": captions, "from": suffix})
    return True


def _copy(source: Any, path: Path, member: tarfile.TarInfo) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            written = file.tell()
        if written != member.size:
            raise tarfile.ReadError(f"{member.name} has {written:,} of {member.size:,} bytes")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _captions(content: bytes, suffix: str) -> list[str] | None:
    """The captions of a file; None if it is not text, not JSON, or holds no text where captions are kept."""
    try:
        text = content.decode("utf-8-sig")
        values = json.loads(text) if suffix == ".json" else text
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return None
    if isinstance(values, dict):
        values = next((values[key] for key in KEYS if key in values), [])
    captions = [values] if isinstance(values, str) else values
    return captions if isinstance(captions, list) and all(isinstance(one, str) for one in captions) else None


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
