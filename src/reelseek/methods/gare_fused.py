"""GARE's scores with the element-wise part in one compiled pass (`pip install "reelseek[fast]"`): several times faster.

Where it applies (`can_fuse`) it gives what `reelseek.methods.gare_factorised.pair_scores` gives, without gradients and
without coefficients: a text side corrected over frames by one head and one layer, float32 on a processor. Its matrix
products take float32 or bfloat16 operands. Not here: the loops (`reelseek.methods.gare_loops`).

Shapes: T texts, V videos, F frames, K = F + 1 vectors of a basis, D width.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reelseek.methods.gare_factorised import TextSide, VideoSide
from reelseek.methods.gare_plain import Psi, Variant

# Fewer pairs are done before the loops are loaded.
FUSED_PAIRS = 1 << 17
# What `gare_loops.LANES` is, without loading the compiler: that many texts are done at a time, never fewer.
FEWEST_TEXTS = 64


def can_fuse(psi: Psi, variant: Variant, texts: int, videos: int) -> bool:
    """Whether the compiled pass is there, covers this variant, and is worth loading for so many pairs."""
    weight = psi.mean_proj.weight
    covered = variant.side == "text" and variant.heads == 1 and len(psi.chain) == 1
    plain = weight.device.type == "cpu" and weight.dtype == torch.float32
    large = texts >= FEWEST_TEXTS and texts * videos >= FUSED_PAIRS
    return covered and plain and large and _loops() is not None


@cache
def _loops() -> Any:
    """The compiled loops, or None where numba is not installed or finds no folder to keep what it compiled."""
    try:
        return importlib.import_module("reelseek.methods.gare_loops")
    except (ImportError, RuntimeError):
        return None


class FusedSide(NamedTuple):
    """A tile of prepared videos as the loops take it: vectors for the products, and arrays."""

    vectors: tuple[Tensor, Tensor, Tensor]  # frames, contexts, bases: in the products' type
    centre_VD: Tensor
    arrays: tuple[np.ndarray, ...]


def fused_side(side: VideoSide, operands: torch.dtype) -> FusedSide:
    """What does not depend on the texts. operands: float32 or bfloat16, of the matrix products."""
    bases = side.bases
    videos, frames, _ = side.frames_VFD.shape
    padding_VF = np.zeros((videos, frames), np.float32)
    if side.padding_VF1 is not None:
        padding_VF = _array(side.padding_VF1[:, :, 0])
    arrays = (
        padding_VF,
        _array(bases.spread_O1[:, 0]),
        _array(bases.centre_logits_ON1[:, :, 0]),
        _array(bases.fixed_logits_ON1[:, :, 0]),
        _array(bases.forms_ORN),
        _array(side.pooling_forms_VRF),
        _array(bases.constant_p0_O1[:, 0]),
        _array(bases.constant_q0_O1.reshape(videos)),
    )
    vectors = (side.frames_VFD.to(operands), bases.context_OCD.to(operands), bases.basis_OKD.to(operands))
    return FusedSide(vectors, bases.centre_OD, arrays)


def fused_tile(psi: Psi, variant: Variant, text: TextSide, side: FusedSide) -> Tensor:
    """Similarities [V, T]. `text` holds its columns in the type of the side's vectors (see `in_operands`)."""
    loops = _loops()
    layer = psi.chain[0]
    columns = (text.plain_DT, text.other.query_DX, text.product_DT)
    products = [
        _array((vectors_VND.flatten(0, 1) @ columns_DT).view(*vectors_VND.shape[:2], -1))
        for vectors_VND, columns_DT in zip(side.vectors, columns, strict=True)
    ]
    matrix_VT = torch.empty(len(side.centre_VD), len(text.length_T))
    score = loops.score_bfloat16 if side.vectors[0].dtype == torch.bfloat16 else loops.score_float32
    score(
        *products,
        _array(side.centre_VD @ text.other.centred_DX),
        _array(text.other.spread_X),
        _array(text.length_T),
        *side.arrays,
        np.float32(variant.temperature),
        np.float32(side.centre_VD.shape[1]),
        np.array([layer.norm1.eps, layer.norm2.eps, layer.norm3.eps], np.float32),
        matrix_VT.numpy(),
    )
    return matrix_VT


def in_operands(text: TextSide, operands: torch.dtype) -> TextSide:
    """A text side whose columns for the three products with frames are of another type."""
    return text._replace(
        plain_DT=text.plain_DT.to(operands),
        other=text.other._replace(query_DX=text.other.query_DX.to(operands)),
        product_DT=text.product_DT.to(operands),
    )


def _array(values: Tensor) -> np.ndarray:
    """The numbers without a copy where they lie in order; NumPy knows no bfloat16, whose bits go as uint16."""
    values = values.detach().contiguous()
    return values.view(torch.uint16).numpy() if values.dtype == torch.bfloat16 else values.numpy()
