"""Tower outputs on disk: one safetensors file a video, one a chunk of captions, each written whole or not at all.

A damaged or missing entry reads as absent. Not here: what is put in (`reelseek.embed`).
Shapes: T texts, N frames of one file or tokens of all texts, L tokens,
D width.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reelseek.errors import ReelseekError
from reelseek.records import EmbeddedVideo, Method, Texts


def key(method: Method, sampling_key: str, keyframes: bool, *, repeatable: bool = False) -> str:
    """The folder's name for outputs of these towers, this preprocessing and this sampling.

    repeatable: by torch alone; what another engine rounded otherwise never takes its place.
    """
    parts = f"{method.backbone_id}|{method.preprocess}|{sampling_key}|{keyframes}" + ("|torch" if repeatable else "")
    return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()


def read_video(folder: Path, name: str, path: Path, content_hash: str) -> EmbeddedVideo | None:
    """The entry `name` as the outputs of the file at `path`; None if there is none."""
    tensors = _read(_place(folder, name), ("frames_ND", "times_N", "duration"))
    if tensors is None:
        return None
    frames_ND, times_N, duration = tensors
    kept = _read(_place(folder, name), ("differences_N",))
    differences_N = None if kept is None else kept[0].numpy()
    return EmbeddedVideo(
        path, content_hash, frames_ND, times_N.numpy(), float(duration), cached=True, differences_N=differences_N
    )


def write_video(folder: Path, name: str, video: EmbeddedVideo) -> None:
    """Keep a video's outputs. Raises ReelseekError if the disk does not take them."""
    tensors = {
        "frames_ND": video.frames_ND.contiguous(),
        "times_N": torch.from_numpy(np.ascontiguousarray(video.times_N)),
        "duration": torch.tensor(video.duration, dtype=torch.float64),
    }
    if video.differences_N is not None:
        tensors["differences_N"] = torch.from_numpy(video.differences_N)
    _write(_place(folder, name), tensors)


def read_texts(cache: Path, text_id: str, captions: Sequence[str]) -> Texts | None:
    """The texts of exactly these captions in this order, with all their parts; None if they are not kept."""
    try:
        with safe_open(_texts_place(cache, text_id, captions), framework="pt") as file:
            names: list[str] = file.keys()
            return _gathered({name: file.get_tensor(name) for name in names})
    except (OSError, SafetensorError):
        return None


def write_texts(cache: Path, text_id: str, captions: Sequence[str], texts: Texts) -> None:
    """Keep captions' texts, tokens without their padding. Raises ReelseekError if the disk does not take them."""
    _write(_texts_place(cache, text_id, captions), _spread(texts))


def _spread(texts: Texts, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of texts by name; token rows end with their last token that counts, one below the other."""
    # Copied: a stream may be the whole sentence itself, and the format takes no tensor twice.
    tensors = {f"{prefix}pooled_TD": texts.pooled_TD.clone(memory_format=torch.contiguous_format)}
    if texts.tokens_TLD is not None and texts.mask_TL is not None:
        places_TL = texts.mask_TL * torch.arange(1, texts.mask_TL.shape[1] + 1)
        lengths_T = places_TL.amax(dim=1)
        real_TL = torch.arange(texts.mask_TL.shape[1]) < lengths_T[:, None]
        tensors[f"{prefix}tokens_ND"] = texts.tokens_TLD[real_TL]
        tensors[f"{prefix}mask_N"] = texts.mask_TL[real_TL]
        tensors[f"{prefix}lengths_T"] = lengths_T
    for name, stream in (texts.streams or {}).items():
        tensors |= _spread(stream, f"{prefix}{name}.")
    return tensors


def _gathered(tensors: Mapping[str, Tensor], prefix: str = "") -> Texts:
    pooled_TD, tokens_TLD, mask_TL = tensors[f"{prefix}pooled_TD"], None, None
    if f"{prefix}tokens_ND" in tensors:
        lengths = tensors[f"{prefix}lengths_T"].tolist()
        tokens_TLD = pad_sequence(list(torch.split(tensors[f"{prefix}tokens_ND"], lengths)), batch_first=True)
        mask_TL = pad_sequence(list(torch.split(tensors[f"{prefix}mask_N"], lengths)), batch_first=True)
    inner = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    streams = dict.fromkeys(name.split(".")[0] for name in inner if "." in name)
    found = {name: _gathered(tensors, f"{prefix}{name}.") for name in streams}
    return Texts(pooled_TD, tokens_TLD, mask_TL, found or None)


def _place(folder: Path, name: str) -> Path:
    return folder / name[:2] / f"{name}.safetensors"


def _texts_place(cache: Path, text_id: str, captions: Sequence[str]) -> Path:
    # Not joined by some character: a caption may hold any, and two lists must never share a name.
    whole = json.dumps([text_id, *captions]).encode()
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
