"""How likeness tells the same footage from other footage (`reelseek.index.alike`), with the offline model.

Every video below FOLDER is encoded again, 320 pixels wide and in H.264 at two qualities, and indexed beside the first.
Likeness of whole videos: of each with its copy, and of every two different ones. Prints, and writes
benchmarks/results/alike.json: how many copies reach `SAME`, how many other pairs do, and the nearest of those.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path

import av
import numpy as np

import reelseek
from reelseek.index.alike import SAME, looks
from reelseek.index.build import update
from reelseek.index.cards import open_index
from reelseek.index.loaded import load, rows_of
from reelseek.index.places import Place

RESULTS = Path(__file__).parent / "results" / "alike.json"
QUALITIES = (23, 30)
"""H.264's CRF: its usual one, and one that shows."""


def encode_again(source: Path, target: Path, quality: int) -> None:
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        height = round(320 * stream.height / stream.width / 2) * 2
        out = made.add_stream("libx264", rate=stream.average_rate, options={"crf": str(quality), "preset": "veryfast"})
        out.width, out.height, out.pix_fmt = 320, height, "yuv420p"
        for frame in given.decode(stream):
            frame.pts = None
            made.mux(out.encode(frame.reformat(320, height, "yuv420p")))
        made.mux(out.encode())


def measured(sources: list[Path], quality: int) -> dict[str, object]:
    """Likeness of videos with their copies of one quality, and with one another."""
    with tempfile.TemporaryDirectory() as place:
        copies = [Path(place) / f"{path.stem}.mp4" for path in sources]
        for source, copy in zip(sources, copies, strict=True):
            encode_again(source, copy, quality)
        directory = Path(place) / "index"
        update(directory, [*sources, *copies], reelseek.load("offline"), model_card={})
        loaded = load(open_index(directory))
        number = {path: video for video, path in enumerate(loaded.paths_V)}

        def look(path: Path) -> np.ndarray:
            video = number[str(path)]
            return looks(loaded, [Place(video, 0.0, 0.0, 0.0, 0.0, 0, rows_of(loaded, video))])[0]

        first_VD, again_VD = (np.stack([look(path) for path in paths]) for paths in (sources, copies))
    own_V = (first_VD * again_VD).sum(axis=1)
    others = (first_VD @ first_VD.T)[np.triu_indices(len(sources), k=1)]
    crossed = (first_VD @ again_VD.T)[~np.eye(len(sources), dtype=bool)]
    return {
        "copies that reach it": int((own_V >= SAME).sum()),
        "pairs of different videos": len(others),
        "of those that reach it": int((others >= SAME).sum()),
        "the nearest of those": round(float(others.max()), 3),
        "different videos, one of them a copy, that reach it": int((crossed >= SAME).sum()),
        "likeness of copies, quartiles": np.quantile(own_V, [0.25, 0.5, 0.75]).round(3).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    sources = sorted(path for path in options.folder.rglob("*") if path.suffix in (".mp4", ".avi", ".mkv", ".webm"))
    result: dict[str, object] = {"date": date.today().isoformat(), "videos": len(sources), "same": SAME}
    result |= {f"CRF {quality}": measured(sources, quality) for quality in QUALITIES}
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
