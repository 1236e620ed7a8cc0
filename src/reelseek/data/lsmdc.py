"""LSMDC (Rohrbach et al. 2015), the 2016 retrieval task: clips of films, each with a sentence of an audio description.

Read anywhere below one folder:
  LSMDC16_annos_training.csv, LSMDC16_annos_val.csv, LSMDC16_challenge_1000_publictect.csv [sic]: no header, columns
  split by tabs: clip id, start and end aligned, start and end extracted, sentence. Quotes are part of a sentence;
  in training a clip may have several rows;
  the clips as <clip id>.avi, in folders by film or not, or with any other video ending.
Tested on miniatures in these formats.
"""

from __future__ import annotations

from pathlib import Path

from reelseek.config import DataConfig
from reelseek.data.files import Files, numbered, read_text
from reelseek.data.pairs import Splits, Standard
from reelseek.errors import DataError

CORPUS = "lsmdc"
ANNOTATIONS = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
TEST = Standard("LSMDC 2016 public test", videos=1000, texts=1000)
PUBLISHED_ROWS = {"train": 101079, "val": 7408, "test": 1000}
EXCLUDED = "1012_Unbreakable_00.05.16.065-00.05.21.941"
"""A clip that published code leaves out of training."""
COLUMNS = 6


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The splits below `data.root`."""
    return load_lsmdc(config.root)


def load_lsmdc(root: str | Path) -> Splits:
    """About 101,000 training, 7,408 validation and 1,000 test sentences; the test gallery has 1,000 clips.

    `EXCLUDED` is left out of train and val, and counted. A part for learning of which no clip is on disk is None.
    Raises DataError for absent or damaged files, splits that share clips, or no test clip.
    """
    files = Files("LSMDC", root)
    rows = {part: _rows(files.path(name)) for part, name in ANNOTATIONS.items()}
    notes = {part: [f"{len(rows[part]):,} of {count:,} rows"] for part, count in PUBLISHED_ROWS.items()}
    for part in ("train", "val"):
        kept = [row for row in rows[part] if row[0] != EXCLUDED]
        notes[part] += [f"clip {EXCLUDED} left out"] if len(kept) < len(rows[part]) else []
        rows[part] = kept
    return files.splits(
        "lsmdc",
        {part: tuple(dict.fromkeys(clip for clip, _ in mine)) for part, mine in rows.items()},
        numbered(row for mine in rows.values() for row in mine),
        corpus=CORPUS,
        standard=TEST,
        notes=notes,
    )


def _rows(path: Path) -> list[tuple[str, str]]:
    """Clip id and sentence of every row; files that are not UTF-8 are taken for Windows-1252."""
    rows = []
    # Not splitlines, which also cuts at separators inside a sentence; not csv, which reads quotes as its own.
    for number, line in enumerate(read_text(path, otherwise="cp1252").split("\n"), 1):
        fields = line.removesuffix("\r").split("\t")
        if not line.strip():
            continue
        if len(fields) != COLUMNS or not fields[0].strip():
            raise DataError(
                f"{path}: line {number} has {len(fields)} fields between tabs; it needs a clip id, four times and a "
                "sentence."
            )
        rows.append((fields[0].strip(), fields[5].strip()))
    if not rows:
        raise DataError(f"{path}: is empty.")
    return rows
