"""Tower outputs on disk: one safetensors file a video, one a chunk of captions, each written whole or not at all.

A damaged or missing entry reads as absent. Not here: what is put in (`reelseek.embed`).
Shapes: T texts, N frames of one file, D width.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reelseek.errors import ReelseekError
from reelseek.records import EmbeddedVideo, Method


def key(method: Method, sampling_key: str, keyframes: bool) -> str:
    """The folder's name for outputs of these towers, this preprocessing and this sampling."""
    parts = f"{method.backbone_id}|{method.preprocess}|{sampling_key}|{keyframes}"
    return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()


def read_video(folder: Path, name: str, path: Path, content_hash: str) -> EmbeddedVideo | None:
    """The entry `name` as the outputs of the file at `path`; None if there is none."""
    tensors = _read(_place(folder, name), ("frames_ND", "times_N", "duration"))
    if tensors is None:
        return None
    frames_ND, times_N, duration = tensors
    return EmbeddedVideo(path, content_hash, frames_ND, times_N.numpy(), float(duration), cached=True)


def write_video(folder: Path, name: str, video: EmbeddedVideo) -> None:
    """Keep a video's outputs. Raises ReelseekError if the disk does not take them."""
    tensors = {
        "frames_ND": video.frames_ND.contiguous(),
        "times_N": torch.from_numpy(np.ascontiguousarray(video.times_N)),
        "duration": torch.tensor(video.duration, dtype=torch.float64),
    }
    _write(_place(folder, name), tensors)


def read_texts(cache: Path, backbone_id: str, captions: Sequence[str]) -> Tensor | None:
    """Sentence vectors [T, D] of exactly these captions in this order; None if they are not kept."""
    tensors = _read(_texts_place(cache, backbone_id, captions), ("pooled_TD",))
    return None if tensors is None else tensors[0]


def write_texts(cache: Path, backbone_id: str, captions: Sequence[str], pooled_TD: Tensor) -> None:
    """Keep captions' sentence vectors. Raises ReelseekError if the disk does not take them."""
    _write(_texts_place(cache, backbone_id, captions), {"pooled_TD": pooled_TD})


def _place(folder: Path, name: str) -> Path:
    return folder / name[:2] / f"{name}.safetensors"


def _texts_place(cache: Path, backbone_id: str, captions: Sequence[str]) -> Path:
    # Not joined by some character: a caption may hold any, and two lists must never share a name.
    whole = json.dumps([backbone_id, *captions]).encode()
    return _place(cache / "texts", hashlib.blake2b(whole, digest_size=16).hexdigest())


def _read(file: Path, names: Sequence[str]) -> list[Tensor] | None:
    try:
        with safe_open(file, framework="pt") as tensors:
            return [tensors.get_tensor(name) for name in names]
    except (OSError, SafetensorError):
        return None


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part)
        part.replace(file)
    except (OSError, SafetensorError) as error:
        raise ReelseekError(
            f"{file.parent}: the cache cannot be written ({error}). Free some space there or choose another folder."
        ) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
