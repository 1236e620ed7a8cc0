"""The queries by which `benchmarks/calibration.py` judges probabilities: fixed before any of them was scored.

In the library: 50 captions drawn by seed from the manifest of a folder of captioned clips. Absent: 50 sentences
(`calibration_absent.txt`) about things that are in none of the clips that were at hand, written after reading the
captions of the clips and before any score of either list was seen. Settings are chosen on other data.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

ABSENT = Path(__file__).with_name("calibration_absent.txt")
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
