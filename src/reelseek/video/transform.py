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
    """Encoder input [F, 3, S, S] float32 of RGB uint8 frames [F, H, W, 3]: `cropped`, then `normalised`. Raises as
    `cropped`.
    """
    return normalised(cropped(pixels_FHW3, spec), spec)


def cropped(pixels_FHW3: np.ndarray, spec: Preprocess) -> Tensor:
    """What an encoder sees of RGB uint8 frames [F, H, W, 3], still uint8 [F, 3, S, S]: `resize`, then the centre crop.

    Raises ValueError for pixels of another kind, or a crop larger than the resized frame.
    """
    if spec.crop > spec.resize:
        raise ValueError(f"a crop of {spec.crop} pixels does not fit into frames resized to {spec.resize}")
    small_FHW3 = resize(pixels_FHW3, spec)
    top, left = (small_FHW3.shape[1] - spec.crop) // 2, (small_FHW3.shape[2] - spec.crop) // 2
    crop_FSS3 = small_FHW3[:, top : top + spec.crop, left : left + spec.crop]
    # writable, because torch warns about arrays it may not write to
    crop_F3SS = torch.from_numpy(np.require(crop_FSS3, requirements=["C", "W"])).permute(0, 3, 1, 2)
    return crop_F3SS.contiguous()


def normalised(pixels_F3SS: Tensor, spec: Preprocess) -> Tensor:
    """(pixel - mean) / std of uint8 pixels [F, 3, S, S], as float32 on their device: four times their memory."""
    mean, std = (torch.tensor(values, device=pixels_F3SS.device).view(3, 1, 1) for values in (spec.mean, spec.std))
    return pixels_F3SS.to(torch.float32).sub_(mean).div_(std)


def resize(pixels_FHW3: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Frames [F, H', W', 3] of uint8 whose shorter side is `spec.resize`, or both sides when `spec.squash`.

    The longer side is cut to a whole number. Antialiased, rounded to uint8, columns before rows as in Pillow before 13
    (which starts with the rows of tall images: seen only at hard edges). Frames that fit already come back as they are.
    Raises ValueError for anything but uint8 [F, H, W, 3].
    """
    if pixels_FHW3.ndim != 4 or pixels_FHW3.shape[-1] != 3 or pixels_FHW3.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [F, H, W, 3], not {pixels_FHW3.dtype} {list(pixels_FHW3.shape)}")
    height, width = pixels_FHW3.shape[1:3]
    if spec.squash:
        size = spec.resize, spec.resize
    elif height <= width:
        size = spec.resize, int(spec.resize * width / height)
    else:
        size = int(spec.resize * height / width), spec.resize
    if size == (height, width) or len(pixels_FHW3) == 0:
        return pixels_FHW3 if size == (height, width) else np.empty((0, *size, 3), np.uint8)
    # strides of channels last and no copy: what the uint8 kernel is fastest on
    pixels_F3HW = torch.from_numpy(np.require(pixels_FHW3, requirements=["C", "W"])).permute(0, 3, 1, 2)
    small_F3HW = functional.interpolate(pixels_F3HW, size, mode=spec.interpolation, antialias=True)
    return small_F3HW.permute(0, 2, 3, 1).numpy()
