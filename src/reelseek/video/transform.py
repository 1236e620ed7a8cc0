"""Decoded pixels to an image encoder's input: resize, centre crop, normalise.

Works on uint8 tensors from end to end of the resize, as the PIL processors do, and needs neither PIL nor torchvision.
Not here: reading frames (`reelseek.video.decode`) and the constants of encoders other than CLIP (they live with them).
Shape legend: F frames, H W 3 pixels, S side of the encoder's input.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reelseek.records import Preprocess

CLIP = Preprocess(
    resize=224,
    crop=224,
    mean=(0.48145466 * 255, 0.4578275 * 255, 0.40821073 * 255),
    std=(0.26862954 * 255, 0.26130258 * 255, 0.27577711 * 255),
)
"""CLIP at 224 pixels (Radford et al. 2021); other sizes by `CLIP._replace(resize=336, crop=336)`."""


def preprocess(pixels_FHW3: np.ndarray, spec: Preprocess) -> Tensor:
    """Encoder input [F, 3, S, S] float32 of RGB uint8 frames [F, H, W, 3].

    The shorter side becomes `spec.resize` and the longer side is cut to a whole number (or both become `spec.resize`
    when `spec.squash`), antialiased and rounded to uint8, columns before rows as in Pillow before 13 (which starts with
    the rows of tall images: seen only at hard edges); then the centre crop, then (pixel - mean) / std.
    Raises ValueError for pixels of another kind or a crop larger than the resized frame.
    """
    if pixels_FHW3.ndim != 4 or pixels_FHW3.shape[-1] != 3 or pixels_FHW3.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [F, H, W, 3], not {pixels_FHW3.dtype} {list(pixels_FHW3.shape)}")
    if spec.crop > spec.resize:
        raise ValueError(f"a crop of {spec.crop} pixels does not fit into frames resized to {spec.resize}")
    if len(pixels_FHW3) == 0:
        return torch.empty(0, 3, spec.crop, spec.crop)
    # channels-last strides, no copy: the uint8 kernel is fastest on them; torch warns about arrays it may not write to
    pixels_F3HW = torch.from_numpy(np.require(pixels_FHW3, requirements=["C", "W"])).permute(0, 3, 1, 2)
    size = resized(pixels_F3HW.shape[2], pixels_F3HW.shape[3], spec)
    if size != tuple(pixels_F3HW.shape[2:]):
        pixels_F3HW = functional.interpolate(pixels_F3HW, size, mode=spec.interpolation, antialias=True)
    top, left = (size[0] - spec.crop) // 2, (size[1] - spec.crop) // 2
    crop_F3SS = pixels_F3HW[:, :, top : top + spec.crop, left : left + spec.crop]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return crop_F3SS.contiguous().float().sub_(mean).div_(std)


def resized(height: int, width: int, spec: Preprocess) -> tuple[int, int]:
    """Height and width in pixels after the resize of `spec`, before its crop."""
    if spec.squash:
        return spec.resize, spec.resize
    if height <= width:
        return spec.resize, int(spec.resize * width / height)
    return int(spec.resize * height / width), spec.resize
