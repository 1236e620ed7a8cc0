"""Reads weights files of any origin into a flat dict of tensors, running nothing that they contain.

safetensors; torch state dicts (`.pt`, `.pth`, `.bin`) with torch's own restricted reader; TorchScript archives with
`reelseek.checkpoint.archive`. Not here: what the names mean (`reelseek.checkpoint.layouts`).
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reelseek.checkpoint.archive import read_archive
from reelseek.errors import ModelError, UnsafeFile

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
_COMPRESSED_BYTES = 64 * 2**20


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Tensors by name, on the CPU; a dict around the state dict and parallel training's prefix "module." are undone.

    UnsafeFile for content that is not tensors or whose sizes do not add up; ModelError for a file that is missing,
    damaged, or without tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        tensors = _read_safetensors(path)
    elif start.startswith(b"PK"):
        tensors = _read_zip(path)
    elif start.startswith(b"\x80"):
        tensors = _read_torch(path)
    else:  # no pickle: torch would take it for one that needs more trust
        raise ModelError(f"{path} is damaged or no weights file: neither safetensors nor what torch writes")
    if not tensors:
        raise ModelError(f"{path} holds no tensors")
    while all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is a damaged safetensors file ({error})") from None


def _read_zip(path: Path) -> dict[str, Tensor]:
    """torch's zip format: a state dict, or a TorchScript archive where there are constants and code."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path)
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return read_archive(archive, str(path))
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise ModelError(f"{path} is a damaged archive ({error})") from None
    return _read_torch(path)


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Numbers are stored as they are; a compressed entry may be code, but no larger than any code is."""
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED and entry.file_size > _COMPRESSED_BYTES:
            raise UnsafeFile(f"{path}: the entry {entry.filename} would unpack to {entry.file_size} bytes")
    if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size + _COMPRESSED_BYTES:
        raise UnsafeFile(f"{path}: its entries claim more bytes than the file has")


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's other lines advise to load it without this protection.
        found = re.search(r"WeightsUnpickler error: *(.*)", str(error))
        said = found[1] if found else "damaged, or not what torch writes"
        raise UnsafeFile(f"{path} holds more than tensors and is not opened ({said})") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{path} is damaged or no weights file ({_first_line(error)})") from None
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    tensors = _tensors(content)
    for name, value in tensors.items():
        if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UnsafeFile(
                f"{path}: the tensor {name} of shape {tuple(value.shape)} is larger than what the file holds"
            )
    return tensors


def _tensors(content: Any) -> dict[str, Tensor]:
    items = content.items() if isinstance(content, Mapping) else ()
    return {str(name): value for name, value in items if isinstance(value, Tensor)}


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
