"""Text-to-video retrieval of the untrained offline model on a folder of captioned clips.

FOLDER/manifest.json: a list of {"id", "file", "captions": [...]}. Protocol: the middle frames of 12 equal segments of
each clip, mean of their ConSE mixtures, cosine; every caption is a query over all clips, one clip is right, ties count
against. Prints R@1/5/10 with binomial standard errors and writes benchmarks/results/realclips.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import torch

from reelseek.encoders.offline import ConseProjection, OfflineBackbone
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.rank.metrics import metrics_of_ranks
from reelseek.rank.ranking import ranks
from reelseek.records import Videos
from reelseek.video.decode import decode
from reelseek.video.sample import middle
from reelseek.video.transform import preprocess

RESULTS = Path(__file__).parent / "results" / "realclips.json"
FRAMES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    clips = json.loads((options.folder / "manifest.json").read_text())
    captions = [caption for clip in clips for caption in clip["captions"]]
    right = np.repeat(np.arange(len(clips)), [len(clip["captions"]) for clip in clips])
    relevance_TV = right[:, None] == np.arange(len(clips))

    backbone = OfflineBackbone(precision=options.precision)
    start = time.perf_counter()
    frames = []
    for clip in clips:
        pixels = decode(options.folder / clip["file"], partial(middle, frames=FRAMES)).pixels_FHW3
        frames.append(backbone.encode_frames(preprocess(pixels, backbone.preprocess)))
    videos = Videos(torch.stack(frames), torch.ones(len(clips), FRAMES, dtype=torch.bool))
    seconds = time.perf_counter() - start
    projected = ConseProjection()(backbone.encode_texts(captions), videos)
    matrix_TV = MeanPoolHead(normalise_frames=False).score(*projected).matrix_TV.numpy()
    metrics = metrics_of_ranks(ranks(matrix_TV, relevance_TV))

    result = {
        "set": f"{len(captions)} captions, {len(clips)} clips, {FRAMES} frames a clip",
        "protocol": "text to video, untrained ConSE, no centring, every caption a query, ties count against",
        "chance R@1": round(100 / len(clips), 1),
        "precision": options.precision,
        "metrics": {name: round(value, 1) for name, value in metrics.items()},
        "standard error": {
            name: round((metrics[name] * (100 - metrics[name]) / len(captions)) ** 0.5, 1)
            for name in ("R@1", "R@5", "R@10")
        },
        "seconds to decode and encode": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, torch {torch.__version__}",
        "date": date.today().isoformat(),
    }
    for name, value in result.items():
        print(f"{name}: {value}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
