"""GARE's increments and scores pair by pair, in the order in which the paper writes them, in all its variants.

The readable reference: it defines what `reelseek.methods.gare_factorised` and `gare_words` must equal, and trains with
dropout drawn per pair, which does not factorise. It costs about 4 D^2 multiply-adds and a dozen tensors of width D per
pair and layer.

The owner of the context is the video (its frames) or the text (its words); the other side is the text or the video.
Shapes: T texts, V videos, F frames, L tokens, D width; O owners, X others, N vectors of an owner's context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn, unflatten
from torch.nn.functional import cosine_similarity
from torch.utils.checkpoint import checkpoint

from reelseek.records import Texts, Videos
from reelseek.score.similarity import LEAST_SQUARE, masked_mean, masked_softmax

# Elements of the increments (texts x videos x width) of one block, where a training step is recomputed block by block.
BLOCK_ELEMENTS = 1 << 25
LEAST_LENGTH = math.sqrt(LEAST_SQUARE)


class Variant(NamedTuple):
    """Which form of the increment is meant; `reelseek.methods.gare.GareHead` says what each setting does."""

    temperature: float
    side: Literal["text", "video"] = "text"
    context: Literal["frames", "words"] = "frames"
    query: Literal["gap", "text"] = "gap"
    sign: Literal[1, -1] = 1
    heads: int = 1
    padding: Literal["masked", "counted"] = "masked"


class Layer(nn.Module):
    """The parameters of one pre-norm cross-attention block. `norm1` serves the query and the context."""

    def __init__(self, width: int, *, initialisation: Literal["normal", "identity"]) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.linear1 = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        for module in self.children():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
                if initialisation == "identity":
                    nn.init.eye_(module.weight)
                else:
                    nn.init.normal_(module.weight, std=0.02)

    def after_attention(self, mixed_OXD: Tensor, noise: Tensor | None) -> Tensor:
        """What becomes of the values once they are mixed [O, X, D]. noise: dropout factors."""
        attended_OXD = self.norm2(self.out_proj(mixed_OXD))
        changed_OXD = self.linear1(attended_OXD)
        if noise is not None:
            changed_OXD = changed_OXD * noise
        output_OXD: Tensor = self.norm3(attended_OXD + changed_OXD)
        return output_OXD


class Psi(nn.Module):
    """The parameters of the increment: attention layers, and a projection.

    (5 layers + 1) (D^2 + D) + 6 layers D numbers, 1,579,008 for D = 512 and one layer, whatever the number of heads.
    initialisation: see `reelseek.methods.gare.GareHead`; the projection is normal in both.
    """

    def __init__(self, width: int, *, layers: int = 1, initialisation: Literal["normal", "identity"]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, initialisation=initialisation) for _ in range(layers))
        self.mean_proj = nn.Linear(width, width)
        nn.init.zeros_(self.mean_proj.bias)
        nn.init.normal_(self.mean_proj.weight, std=0.02)

    @property
    def chain(self) -> list[Layer]:
        """The layers, in their order."""
        return [cast(Layer, layer) for layer in self.layers]


def attend(
    layer: Layer, heads: int, queries_OXD: Tensor, context_OND: Tensor, mask_ON: Tensor, noise: Tensor | None
) -> Tensor:
    """One attention layer [O, X, D] over each owner's context. noise: dropout factors."""
    context_OND = layer.norm1(context_OND)
    queries, keys, values = (
        unflatten(vectors, 2, (heads, -1)).transpose(1, 2)
        for vectors in (layer.q_proj(layer.norm1(queries_OXD)), layer.k_proj(context_OND), layer.v_proj(context_OND))
    )
    attention_OHXN = masked_softmax(queries @ keys.mT / math.sqrt(keys.shape[3]), mask_ON[:, None, None])
    return layer.after_attention((attention_OHXN @ values).transpose(1, 2).flatten(2), noise)


def plain_scores(
    psi: Psi,
    variant: Variant,
    texts: Texts,
    videos: Videos,
    noise: Sequence[Tensor] | None,
    *,
    attend: Callable[..., Tensor] = attend,
) -> tuple[Tensor, Tensor]:
    """Similarities [T, V] and dense increments [T, V, D].

    noise: for every layer dropout factors, broadcastable to [V, T, D], or to [T, V, D] where words are the context.
    attend: what computes an attention layer.
    Source: GARE, arXiv 2505.12499, section 3; what its text leaves open is said in `reelseek.methods.gare.GareHead`.
    """
    texts_TD, mask_VF = texts.pooled_TD, videos.mask_VF
    frames_VFD = zero_padded(videos).frames_VFD
    pooled_TVD = pool_frames(variant, texts_TD, Videos(frames_VFD, mask_VF))
    if variant.padding == "counted":
        mean_VD, attended_VF = frames_VFD.mean(dim=1), torch.ones_like(mask_VF)
    else:
        mean_VD, attended_VF = masked_mean(frames_VFD, mask_VF), mask_VF

    if variant.context == "words":
        queries_OXD = variant.sign * (mean_VD - texts_TD[:, None]) if variant.query == "gap" else texts_TD[:, None]
        tokens_TLD, mask_TL = words_of(texts)
        increments_TVD = _increments(attend, psi, variant.heads, queries_OXD, tokens_TLD, mask_TL, noise)
    else:
        queries_OXD = variant.sign * (mean_VD[:, None] - texts_TD) if variant.query == "gap" else texts_TD[None]
        increments_VTD = _increments(attend, psi, variant.heads, queries_OXD, frames_VFD, attended_VF, noise)
        increments_TVD = increments_VTD.transpose(0, 1)
    increments_TVD = increments_TVD.expand_as(pooled_TVD)

    if variant.side == "text":
        matrix_TV = cosine_similarity(texts_TD[:, None] + increments_TVD, pooled_TVD, dim=-1, eps=LEAST_LENGTH)
    else:
        matrix_TV = cosine_similarity(texts_TD[:, None], pooled_TVD + increments_TVD, dim=-1, eps=LEAST_LENGTH)
    return matrix_TV, increments_TVD


def zero_padded(videos: Videos) -> Videos:
    """Videos whose padded frames are zero; the same tensor where nothing is padded."""
    padded_VF1 = ~videos.mask_VF[:, :, None]
    return videos._replace(frames_VFD=videos.frames_VFD.masked_fill(padded_VF1, 0)) if padded_VF1.any() else videos


def pool_frames(variant: Variant, texts_TD: Tensor, videos: Videos) -> Tensor:
    """What every text sees of every video [T, V, D]: the mean of its frames by their product with the text.

    Padded frames must be zero.
    """
    return (frame_shares(variant, texts_TD, videos) @ videos.frames_VFD).transpose(0, 1)


def frame_shares(variant: Variant, texts_TD: Tensor, videos: Videos) -> Tensor:
    """The share [V, T, F] of every frame in what a text sees of its video, 0 for padded ones, which must be zero."""
    logits_VTF = (videos.frames_VFD @ texts_TD.T).mT / variant.temperature
    if variant.padding == "counted":
        return logits_VTF.softmax(dim=2) * videos.mask_VF[:, None]
    return masked_softmax(logits_VTF, videos.mask_VF[:, None])


def plain_scores_in_blocks(
    psi: Psi, variant: Variant, texts: Texts, videos: Videos, noise: Sequence[Tensor] | None
) -> tuple[Tensor, Tensor]:
    """The same, recomputed in the backward pass in blocks of videos where the increments are large.

    noise: with a dimension of size V or 1 for the videos, as `plain_scores` takes it.
    """
    count, size = len(videos.frames_VFD), len(texts.pooled_TD) * texts.pooled_TD.shape[1]
    step = max(1, BLOCK_ELEMENTS // size)
    if step >= count or not torch.is_grad_enabled():
        return plain_scores(psi, variant, texts, videos, noise)

    def score(part: Videos, noises: Sequence[Tensor] | None) -> tuple[Tensor, Tensor]:
        work = partial(plain_scores, psi, variant, texts, part, noises)
        found: tuple[Tensor, Tensor] = checkpoint(work, use_reentrant=False, preserve_rng_state=False)
        return found

    return by_videos(score, videos, noise, step, dim=1 if variant.context == "words" else 0)


def by_videos(
    score: Callable[[Videos, Sequence[Tensor] | None], tuple[Tensor, Tensor]],
    videos: Videos,
    noise: Sequence[Tensor] | None,
    step: int,
    *,
    dim: int,
) -> tuple[Tensor, Tensor]:
    """Similarities [T, V] and dense increments [T, V, D], `step` videos at a time. dim: the videos' in the noise."""
    blocks = []
    for start in range(0, len(videos.frames_VFD), step):
        some = slice(start, start + step)
        part = Videos(videos.frames_VFD[some], videos.mask_VF[some])
        noises = noise and [one if one.shape[dim] == 1 else one.narrow(dim, start, len(part[0])) for one in noise]
        blocks.append(score(part, noises))
    return torch.cat([matrix for matrix, _ in blocks], dim=1), torch.cat([dense for _, dense in blocks], dim=1)


def words_of(texts: Texts) -> tuple[Tensor, Tensor]:
    """Token vectors [T, L, D], zero where masked, and their mask. Raises ValueError for texts without tokens."""
    if texts.tokens_TLD is None or texts.mask_TL is None:
        raise ValueError(
            "this head attends to words, and the texts have no tokens_TLD and mask_TL: use towers that give token "
            'vectors, or context "frames".'
        )
    empty_T = ~texts.mask_TL.any(dim=1)
    if bool(empty_T.any()):
        raise ValueError(f"text {int(empty_T.nonzero()[0, 0])} has no word: its row of mask_TL is all False.")
    return texts.tokens_TLD.masked_fill(~texts.mask_TL[:, :, None], 0), texts.mask_TL


def _increments(
    attend: Callable[..., Tensor],
    psi: Psi,
    heads: int,
    queries_OXD: Tensor,
    context_OND: Tensor,
    mask_ON: Tensor,
    noise: Sequence[Tensor] | None,
) -> Tensor:
    """Increments [O, X, D]: the layers one after another, each with the last one's output for its query."""
    for number, layer in enumerate(psi.chain):
        queries_OXD = attend(layer, heads, queries_OXD, context_OND, mask_ON, None if noise is None else noise[number])
    projected_OXD: Tensor = psi.mean_proj(queries_OXD)
    return projected_OXD


def draw_dropout(shape: tuple[int, ...], rate: float, like: Tensor) -> Tensor:
    """Factors of 0 (with probability `rate`) and 1 / (1 - rate), on the device and in the type of `like`."""
    kept = torch.empty(shape, device=like.device, dtype=like.dtype).bernoulli_(1 - rate)
    return kept / (1 - rate)
