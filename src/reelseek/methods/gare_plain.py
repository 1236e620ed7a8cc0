"""GARE's increments and scores pair by pair, in the order in which the paper writes them.

The readable reference: it defines what `reelseek.methods.gare_factorised` must equal, and trains with dropout drawn per
pair, which does not factorise. It costs about 4 D^2 multiply-adds and a dozen tensors of width D per pair.

Shapes: T texts, V videos, F frames, D width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from reelseek.score.similarity import masked_mean, masked_softmax


class Psi(nn.Module):
    """The parameters of the increment: one pre-norm cross-attention block with one head, and a projection.

    6 (D^2 + D) + 6 D numbers, 1,579,008 for D = 512. `norm1` serves the gap and the frames.
    initialisation: see `reelseek.methods.gare.GareHead`.
    """

    def __init__(self, width: int, *, initialisation: Literal["normal", "identity"]) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.linear1 = nn.Linear(width, width)
        self.mean_proj = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        for name, module in self.named_children():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
                if initialisation == "identity" and name != "mean_proj":
                    nn.init.eye_(module.weight)
                else:
                    nn.init.normal_(module.weight, std=0.02)


def plain_scores(
    psi: Psi, texts_TD: Tensor, frames_VFD: Tensor, mask_VF: Tensor, temperature: float, noise: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Similarities [T, V] and dense increments [T, V, D].

    noise: dropout factors, broadcastable to [V, T, D], or None.
    Source: GARE, arXiv 2505.12499, section 3, with padded frames left out of the mean and of both softmaxes.
    """
    frames_VFD = frames_VFD.masked_fill(~mask_VF[:, :, None], 0)
    texts_1TD, texts_1DT = texts_TD[None], texts_TD.T[None]
    weights_VTF = masked_softmax((frames_VFD @ texts_1DT).mT / temperature, mask_VF[:, None, :])
    pooled_VTD = weights_VTF @ frames_VFD

    gap_VTD = masked_mean(frames_VFD, mask_VF)[:, None] - texts_1TD
    context_VFD = psi.norm1(frames_VFD)
    keys_VFD, values_VFD = psi.k_proj(context_VFD), psi.v_proj(context_VFD)
    queries_VTD = psi.q_proj(psi.norm1(gap_VTD))
    logits_VTF = queries_VTD @ keys_VFD.mT / math.sqrt(texts_TD.shape[1])
    attention_VTF = masked_softmax(logits_VTF, mask_VF[:, None, :])
    attended_VTD = psi.norm2(psi.out_proj(attention_VTF @ values_VFD))
    changed_VTD = psi.linear1(attended_VTD)
    if noise is not None:
        changed_VTD = changed_VTD * noise
    increments_VTD = psi.mean_proj(psi.norm3(attended_VTD + changed_VTD))

    matrix_VT = cosine_similarity(texts_1TD + increments_VTD, pooled_VTD, dim=-1)
    return matrix_VT.T, increments_VTD.transpose(0, 1)


def draw_dropout(shape: tuple[int, ...], rate: float, like: Tensor) -> Tensor:
    """Factors of 0 (with probability `rate`) and 1 / (1 - rate), on the device and in the type of `like`."""
    kept = torch.empty(shape, device=like.device, dtype=like.dtype).bernoulli_(1 - rate)
    return kept / (1 - rate)
