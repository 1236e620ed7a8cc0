"""The queries by which `benchmarks/calibration.py` judges probabilities: fixed before any of them was scored.

Captions. In the library: 50 captions drawn by seed from the manifest of a folder of captioned clips. Absent: 50
sentences (`calibration_absent.txt`) about things that are in none of the clips that were at hand, written after reading
the captions of the clips and before any score of either list was seen.
Matched. 50 pairs (`calibration_matched.csv`): what people would type to find something in a clip, and something of the
same topic, wording and length that is in none, written from the pictures by someone who saw no score and did not choose
the settings. The captions are mostly about people and their absent sentences mostly about things; here both are alike.
Settings are chosen on other data.
"""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

ABSENT = Path(__file__).with_name("calibration_absent.txt")
MATCHED = Path(__file__).with_name("calibration_matched.csv")
COUNT = 50
SEED = 0


def in_library(folder: Path) -> list[tuple[str, str]]:
    """`COUNT` captions of FOLDER/manifest.json, each with the file of its clip, relative to the folder."""
    clips = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    captions = [(caption, clip["file"]) for clip in clips for caption in clip["captions"]]
    return random.Random(SEED).sample(captions, COUNT)


def absent() -> list[str]:
    """The sentences that no clip answers."""
    return ABSENT.read_text(encoding="utf-8").splitlines()


def matched() -> tuple[list[tuple[str, str]], list[str]]:
    """Queries that a clip answers, each with the name of the best such clip, and queries that none answers."""
    with MATCHED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return (
        [(row["query"], row["clip"]) for row in rows if row["clip"]],
        [row["query"] for row in rows if not row["clip"]],
    )
