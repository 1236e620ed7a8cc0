"""Frame vectors in pieces: mapped from disk where a copy of them lies ready, else in memory.

A table must be read into memory to be scanned, all of it, at every start. So beside the segments table lies a flat copy
of each of its larger data files (`reelseek.index.store` calls them fragments): `mapped/<name of the data file>.f16`,
which is mapped, not read. A start then takes as long as the small columns take; only what is scanned comes into memory,
and once for all processes that search the index.

Lance never changes a data file, it writes others, and a copy has its name: so a copy that is there is never stale, no
version has to be kept in step, a reader of an old version keeps what it has mapped when the writer deletes the file,
and a small update copies no more than the fragments that Lance itself wrote anew. One file for the whole index would
have to be rewritten, or to keep holes, when a video leaves. Copies take the vectors' room on disk once more. They may
be deleted at any time, and where one is missing, cannot be written or does not fit, its vectors are read from the
table.

    4096 bytes   magic word, width and number of vectors, zeros
    vectors      float16, one after the other
    lengths      float32: one over the length of each vector
    total        float32 [D]: the sum of all vectors, each of length 1
    check sum    CRC-32 of all but the vectors

Not here: the tables (`reelseek.index.store`), scores (`reelseek.index.scan`).
Shapes: N frames of an index or of a piece, D width.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FOLDER, ENDING = "mapped", ".f16"
MAPPED_FRAMES = 1 << 14
"""A fragment of fewer frames is read from the table, which takes some milliseconds."""
MEASURED_ROWS = 2048
"""Vectors turned to float32 at a time."""

_HEAD_BYTES = 4096
_HEAD, _MAGIC, _SUM = struct.Struct("<8sQQ"), b"frames1\n", struct.Struct("<I")


class Piece(NamedTuple):
    """Vectors [N, D] float16 that lie together, one over the length of each [N], and the sum of all at length 1 [D]."""

    frames_ND: Tensor
    inverse_norms_N: Tensor
    total_D: Tensor


class Frames:
    """The frame vectors [N, D] of an index in float16, in pieces one after the other."""

    def __init__(self, pieces: Sequence[Piece], width: int) -> None:
        self.pieces = [piece.frames_ND for piece in pieces]
        counts = [len(piece) for piece in self.pieces]
        self.shape = (sum(counts), width)
        self._after_P = np.cumsum(counts, dtype=np.int64)
        self.inverse_norms_N = torch.cat([torch.empty(0), *(piece.inverse_norms_N for piece in pieces)])
        totals = [torch.zeros(width), *(piece.total_D for piece in pieces)]
        self.mean_D = torch.stack(totals).sum(dim=0) / max(1, len(self))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Copies of the vectors at these rows, which may have any shape: [..., D]."""
        if len(self.pieces) == 1:
            return self.pieces[0][rows]
        flat_R = rows.reshape(-1)
        piece_R = np.searchsorted(self._after_P, flat_R.numpy(), side="right")
        found_RD = torch.empty(len(flat_R), self.shape[1], dtype=torch.float16)
        for number in np.unique(piece_R).tolist():
            own_R = torch.from_numpy(piece_R == number)
            low = int(self._after_P[number]) - len(self.pieces[number])
            found_RD[own_R] = self.pieces[number][flat_R[own_R] - low]
        return found_RD.reshape(*rows.shape, self.shape[1])


def measured(frames_ND: Tensor) -> Piece:
    """Vectors in memory with their lengths and their sum."""
    inverse_norms_N, total_D = torch.empty(len(frames_ND)), torch.zeros(frames_ND.shape[1])
    for low in range(0, len(frames_ND), MEASURED_ROWS):
        part_ND = frames_ND[low : low + MEASURED_ROWS].float()
        inverse_norms_N[low : low + MEASURED_ROWS] = part_ND.norm(dim=1).reciprocal()
        total_D += inverse_norms_N[low : low + MEASURED_ROWS] @ part_ND
    return Piece(frames_ND, inverse_norms_N, total_D)


def copy_path(tables: Path, data_file: str) -> Path:
    """Where the copy of a data file's vectors lies."""
    return tables / FOLDER / f"{Path(data_file).stem}{ENDING}"


def write_copy(path: Path, blocks: Iterable[np.ndarray], count: int, width: int) -> None:
    """Write `count` vectors that come in blocks [N, D] float16, in one step. Raises OSError and leaves nothing then."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            head = _HEAD.pack(_MAGIC, width, count).ljust(_HEAD_BYTES, b"\0")
            file.write(head)
            inverse_norms, total_D = [], torch.zeros(width)
            for block_ND in blocks:
                piece = measured(torch.from_numpy(block_ND.copy()))
                file.write(block_ND.tobytes())
                inverse_norms.append(piece.inverse_norms_N)
                total_D += piece.total_D
            tail = torch.cat([*inverse_norms, total_D]).numpy().tobytes()
            file.write(tail + _SUM.pack(zlib.crc32(tail, zlib.crc32(head))))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def mapped(path: Path, count: int, width: int) -> Piece | None:
    """A copy of `count` vectors, mapped; None where there is none or it does not fit.

    Its length, head, lengths and total are checked, and the first and last vector by their lengths; not the others,
    which would have to be read for it.
    """
    tail_bytes = 4 * (count + width) + _SUM.size
    size = _HEAD_BYTES + 2 * count * width + tail_bytes
    try:
        if path.stat().st_size != size:
            return None
        # Private, so that nothing can be written to the file; and no descriptor stays open, as `mmap` would keep one.
        whole = torch.from_file(str(path), shared=False, size=size // 2, dtype=torch.float16)
    except (OSError, RuntimeError):
        return None
    head, tail = (part.numpy().tobytes() for part in (whole[: _HEAD_BYTES // 2], whole[-tail_bytes // 2 :]))
    tail, told = tail[: -_SUM.size], _SUM.unpack(tail[-_SUM.size :])[0]
    if _HEAD.unpack_from(head) != (_MAGIC, width, count) or zlib.crc32(tail, zlib.crc32(head)) != told:
        return None
    frames_ND = whole[_HEAD_BYTES // 2 : -tail_bytes // 2].view(count, width)
    numbers = torch.frombuffer(bytearray(tail), dtype=torch.float32)
    piece = Piece(frames_ND, numbers[:count], numbers[count:])
    ends = torch.tensor([0, count - 1])
    lengths_2 = measured(frames_ND[ends]).inverse_norms_N
    return piece if torch.allclose(lengths_2, piece.inverse_norms_N[ends], rtol=1e-3) else None


def sweep(tables: Path, wanted: Mapping[Path, object]) -> None:
    """Delete all copies but the wanted ones, and what a killed run left."""
    with contextlib.suppress(OSError):
        for path in (tables / FOLDER).iterdir():
            if path not in wanted:
                path.unlink()
