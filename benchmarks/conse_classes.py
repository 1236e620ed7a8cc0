"""Writes the embeddings of the 1,000 class texts that `ConseProjection` mixes, into the package itself.

Run after the class texts or the sentence encoder change: python benchmarks/conse_classes.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from reelseek.encoders import offline


def main() -> None:
    classes_CD = offline.OfflineBackbone().encode_texts(offline.class_texts()).pooled_TD
    path = Path(offline.__file__).with_name("conse_classes.safetensors")
    save_file({"classes_CD": classes_CD.to(torch.float16)}, path)
    print(f"{path.name}: {tuple(classes_CD.shape)}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
