"""What the owner of a context (a video, or a text by its words) keeps, and the scalars that a pair adds to it.

After the attention over N contexts, every step of an increment is linear in them except three scalars per pair and
layer, the deviations inside the LayerNorms, and each of those is a quadratic form in the attention weights. So an
increment is r3 * (r2 * sum_n a_n Q_n + q0) + q1 with vectors Q, q0 that belong to the owner. With heads, every
head's share of a context is a vector of its own: N = heads x contexts. A second layer's query is such a combination
too, so its logits are forms between the owner's own vectors and touch no text or video any more.

Two liberties that change no value: attention weights of one head are kept as exponentials whose sum divides at the end,
and the largest logit that is subtracted from them counts as a constant (its gradient is zero in exact arithmetic).

Not here: the scores (`reelseek.methods.gare_factorised` for videos, `gare_words` for texts) and the definition
(`reelseek.methods.gare_plain`).
Shapes: O owners, X others, C contexts of an owner, N = heads x C, K = N + 1 vectors of a basis, D width; 1 shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, unflatten
from torch.nn.functional import linear

from reelseek.methods.gare_plain import Layer, Psi

# Added to the logits of padded contexts. Finite, since such a logit later meets a weight of 0.
PADDED = -1e30


class FoldedLayer(NamedTuple):
    """Products of one layer's weights that no text and no frame touches; N here is heads x D."""

    value_ND: Tensor  # values, output projection and centring in one map: D^3 instead of another pass over contexts
    value_N: Tensor
    fixed_HD: Tensor  # the query of a gap of zero, moved to the contexts
    fixed_shift_H: Tensor  # what the key's bias adds: alike for all contexts, it moves no weight but stays in the graph


class Folded(NamedTuple):
    """What needs doing once per call and set of weights."""

    layers: list[FoldedLayer]
    offset_D: Tensor  # q1
    heads: int


class Others(NamedTuple):
    """What a pair's weights need of the side that owns no context. Columns of the matrices are its items."""

    query_DX: Tensor  # its part of the query, moved through both projections: D x (heads x others)
    centred_DX: Tensor  # its part of the query, minus its mean over the width
    spread_X: Tensor  # squared length of that


class Chain(NamedTuple):
    """From one layer's attention weights to the next layer's logits."""

    forms_ORN: Tensor  # rows: Gram of o, of P; then P.p0
    constant_p0_O1: Tensor
    query_gram_OEE: Tensor  # of the N vectors, p0 and the bias that make the next query, centred: E = N + 2
    query_logits_ONE: Tensor
    fixed_logits_ON1: Tensor


class Bases(NamedTuple):
    """What a pair needs of the owner: vectors for products with the others, and small matrices between them."""

    context_OCD: Tensor
    basis_OKD: Tensor  # Q_1..Q_N, q0
    centre_OD: Tensor  # the owner's part of the query, minus its mean over the width
    spread_O1: Tensor  # squared length of the centre
    centre_logits_ON1: Tensor  # the owner's part of the attention logits
    fixed_logits_ON1: Tensor  # the part of them that no query touches
    forms_ORN: Tensor  # rows: Gram of o, of P, of Q; then Q.q0, P.p0
    constant_p0_O1: Tensor  # |p0|^2, alike in all rows without dropout
    constant_q0_O1: Tensor  # |q0|^2
    chains: list[Chain]


class Pairs(NamedTuple):
    """Coefficients of all pairs: the increment is sum_n attention_n * both * Q_n + third * q0 + q1."""

    attention_ONX: Tensor
    both_OX: Tensor
    third_OX: Tensor
    steps_OX: Tensor  # squared length of sum_n attention_n Q_n
    steps_start_OX: Tensor  # its product with q0

    def coefficients(self) -> Tensor:
        """What a pair adds to its owner's basis [O, K, X]."""
        return torch.cat([self.attention_ONX * self.both_OX[:, None], self.third_OX[:, None]], dim=1)


def fold(psi: Psi, heads: int) -> Folded:
    """What needs doing once per call and set of weights."""
    offset_D = linear(psi.chain[-1].norm3.bias, psi.mean_proj.weight, psi.mean_proj.bias)
    return Folded([_fold_layer(layer, heads) for layer in psi.chain], offset_D, heads)


def _fold_layer(layer: Layer, heads: int) -> FoldedLayer:
    width = layer.norm1.bias.shape[0]
    outputs_HDd = unflatten(layer.out_proj.weight, 1, (heads, -1)).transpose(0, 1)
    value_HDD = outputs_HDd @ unflatten(layer.v_proj.weight, 0, (heads, -1))
    value_HD = (outputs_HDd @ unflatten(layer.v_proj.bias, 0, (heads, -1))[:, :, None])[:, :, 0]
    value_HD = value_HD + layer.out_proj.bias / heads
    query_D = linear(layer.norm1.bias, layer.q_proj.weight, layer.q_proj.bias) / math.sqrt(width / heads)
    query_Hd = unflatten(query_D, 0, (heads, -1))
    return FoldedLayer(
        value_ND=(value_HDD - value_HDD.mean(dim=1, keepdim=True)).flatten(0, 1),
        value_N=_centred(value_HD).flatten(),
        fixed_HD=(query_Hd[:, None] @ unflatten(layer.k_proj.weight, 0, (heads, -1)))[:, 0],
        fixed_shift_H=(query_Hd * unflatten(layer.k_proj.bias, 0, (heads, -1))).sum(dim=1),
    )


def others(psi: Psi, folded: Folded, centred_XD: Tensor) -> Others:
    """The other side's part of the query, centred and with its sign."""
    query_HXD = _as_query(psi.chain[0], folded.heads, centred_XD)
    return Others(
        query_DX=query_HXD.permute(2, 0, 1).flatten(1).contiguous(),
        centred_DX=centred_XD.T.contiguous(),
        spread_X=centred_XD.square().sum(dim=1),
    )


def make_bases(
    psi: Psi,
    folded: Folded,
    vectors_OCD: Tensor,
    mask_OC: Tensor,
    centre_OD: Tensor,
    noise: Sequence[Tensor] | None,
) -> Bases:
    """Bases and Gram matrices: about 3 D^2 multiply-adds a context, head and layer, none of them per pair.

    vectors_OCD: the contexts, zero where padded. mask_OC: those that are attended to. centre_OD: the owner's part of
    the query, centred and with its sign. noise: for every layer dropout factors [O, D], or None.
    """
    heads, padded_OC = folded.heads, ~mask_OC
    padding_ON1 = None
    if bool(padded_OC.any()):
        padding_ON1 = (padded_OC * PADDED).to(vectors_OCD.dtype).repeat(1, heads)[:, :, None]
    chains: list[Chain] = []
    layers = psi.chain
    contexts = [layer.norm1(vectors_OCD) for layer in layers]
    inner = [
        _through_linear1(layer, weights, heads, context_OCD, None if noise is None else noise[number])
        for number, (layer, weights, context_OCD) in enumerate(zip(layers, folded.layers, contexts, strict=True))
    ]
    fixed = [
        _fixed_logits(weights, context_OCD, padding_ON1)
        for weights, context_OCD in zip(folded.layers, contexts, strict=True)
    ]
    for number, (layer, following) in enumerate(pairwise(layers)):
        query_OED = _next_query(layer, *inner[number][:2])
        chains.append(
            Chain(
                _inner_forms(*inner[number]),
                _row_lengths(inner[number][1], len(vectors_OCD)),
                query_OED @ query_OED.mT,
                _query_logits(following, heads, contexts[number + 1], query_OED),
                fixed[number + 1],
            )
        )
    direct_OND, start_OD, outputs_OND = inner[-1]
    basis_OKD = _basis(psi, direct_OND, start_OD)
    gram_OKK = basis_OKD @ basis_OKD.mT
    count = direct_OND.shape[1]
    return Bases(
        context_OCD=contexts[0],
        basis_OKD=basis_OKD,
        centre_OD=centre_OD,
        spread_O1=centre_OD.square().sum(dim=1, keepdim=True),
        centre_logits_ON1=_centre_logits(layers[0], heads, contexts[0], centre_OD),
        fixed_logits_ON1=fixed[0],
        forms_ORN=torch.cat(
            [
                outputs_OND @ outputs_OND.mT,
                direct_OND @ direct_OND.mT,
                gram_OKK[:, :, :count],
                _dot(direct_OND, start_OD)[:, None],
            ],
            dim=1,
        ),
        constant_p0_O1=_row_lengths(start_OD, len(vectors_OCD)),
        constant_q0_O1=gram_OKK[:, count, count:],
        chains=chains,
    )


def make_pairs(psi: Psi, heads: int, bases: Bases, other: Others) -> Pairs:
    """The scalars of every pair, all at once."""
    owners, contexts, width = bases.context_OCD.shape
    count = heads * contexts
    centred_OX = products(bases.centre_OD[:, None], other.centred_DX)[:, 0]
    spread_OX = bases.spread_O1 + other.spread_X + 2 * centred_OX
    # Squared length of the centred query: rounding can push it below zero when text and mean frame coincide.
    first_OX = torch.rsqrt(spread_OX.clamp_min(0) / width + psi.chain[0].norm1.eps)
    moved = products(bases.context_OCD, other.query_DX).view(owners, contexts, heads, -1)
    logits_ONX = moved.transpose(1, 2).reshape(owners, count, -1)
    logits_ONX = torch.addcmul(bases.fixed_logits_ON1, logits_ONX + bases.centre_logits_ON1, first_OX[:, None])
    attention_ONX, total_OX = _attention(logits_ONX, heads)
    for number, chain in enumerate(bases.chains):
        attention_ONX, total_OX = _chained(psi.chain[number : number + 2], chain, heads, attention_ONX, total_OX, width)
    forms_ORX = bases.forms_ORN @ attention_ONX
    squares_O3X = (forms_ORX[:, : 3 * count].view(owners, 3, count, -1) * attention_ONX[:, None]).sum(dim=2)
    # Squared lengths of sums of vectors: not below zero but for rounding.
    outputs_OX, direct_OX, steps_OX = squares_O3X.clamp_min(0).unbind(dim=1)
    both_OX, third_OX = _deviations(
        psi.chain[-1], outputs_OX, direct_OX, forms_ORX[:, 3 * count + 1], total_OX, bases.constant_p0_O1, width
    )
    return Pairs(attention_ONX, both_OX, third_OX, steps_OX, forms_ORX[:, 3 * count])


def products(vectors_OND: Tensor, columns: Tensor) -> Tensor:
    """Products of every owner's vectors with columns [D, X], or with columns of its own [O, D, X]: [O, N, X].

    Operands in bfloat16 or float16 give float32: what is rounded to half precision is added up and used in full.
    """
    if columns.ndim == 3:
        found = vectors_OND @ columns
    else:
        found = (vectors_OND.flatten(0, 1) @ columns).view(*vectors_OND.shape[:2], -1)
    return found.float() if found.dtype in (torch.bfloat16, torch.float16) else found


def _attention(logits_ONX: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Attention weights and the sum that each head's are still to be divided by."""
    if heads == 1:
        weights_ONX = (logits_ONX - logits_ONX.detach().amax(dim=1, keepdim=True)).exp_()
        return weights_ONX, weights_ONX.sum(dim=1)
    return unflatten(logits_ONX, 1, (heads, -1)).softmax(dim=2).flatten(1, 2), logits_ONX.new_ones(())


def _deviations(
    layer: Layer,
    outputs_OX: Tensor,
    direct_OX: Tensor,
    direct_start_OX: Tensor,
    total_OX: Tensor,
    constant_p0_O1: Tensor,
    width: int,
) -> tuple[Tensor, Tensor]:
    """r2 r3 over the sum of the attention weights, and r3: what the last two LayerNorms divide by."""
    second_OX = torch.rsqrt(outputs_OX / width + layer.norm2.eps * total_OX.square())
    variance_OX = second_OX * (second_OX * direct_OX + 2 * direct_start_OX) + constant_p0_O1
    third_OX = torch.rsqrt(variance_OX.clamp_min(0) / width + layer.norm3.eps)
    return second_OX * third_OX, third_OX


def _chained(
    layers: Sequence[Layer], chain: Chain, heads: int, attention_ONX: Tensor, total_OX: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """From the attention weights and sums of the first of two layers to those of the second."""
    layer, following = layers
    owners, count, _ = attention_ONX.shape
    forms_ORX = chain.forms_ORN @ attention_ONX
    squares_O2X = (forms_ORX[:, : 2 * count].view(owners, 2, count, -1) * attention_ONX[:, None]).sum(dim=2)
    outputs_OX, direct_OX = squares_O2X.clamp_min(0).unbind(dim=1)
    both_OX, third_OX = _deviations(
        layer, outputs_OX, direct_OX, forms_ORX[:, 2 * count], total_OX, chain.constant_p0_O1, width
    )
    parts_OEX = torch.cat(
        [attention_ONX * both_OX[:, None], third_OX[:, None], torch.ones_like(third_OX)[:, None]], dim=1
    )
    spread_OX = ((chain.query_gram_OEE @ parts_OEX) * parts_OEX).sum(dim=1)
    first_OX = torch.rsqrt(spread_OX.clamp_min(0) / width + following.norm1.eps)
    logits_ONX = torch.addcmul(chain.fixed_logits_ON1, chain.query_logits_ONE @ parts_OEX, first_OX[:, None])
    return _attention(logits_ONX, heads)


def _through_linear1(
    layer: Layer, folded: FoldedLayer, heads: int, context_OCD: Tensor, noise_OD: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """P [O, N, D], p0 [O or 1, D] and the centred attention outputs c(o) [O, N, D]."""
    outputs = unflatten(linear(context_OCD, folded.value_ND, folded.value_N), 2, (heads, -1))
    outputs_OND = outputs.transpose(1, 2).flatten(1, 2)
    scaled_OND = outputs_OND * layer.norm2.weight
    changed_OND = linear(scaled_OND, layer.linear1.weight)
    changed_1D = linear(layer.norm2.bias, layer.linear1.weight, layer.linear1.bias)[None]
    if noise_OD is not None:
        changed_OND = changed_OND * noise_OD[:, None]
        changed_1D = changed_1D * noise_OD
    direct_OND = scaled_OND + changed_OND
    start_OD = layer.norm2.bias + changed_1D
    return _centred(direct_OND), _centred(start_OD), outputs_OND


def _inner_forms(direct_OND: Tensor, start_OD: Tensor, outputs_OND: Tensor) -> Tensor:
    grams = [outputs_OND @ outputs_OND.mT, direct_OND @ direct_OND.mT]
    return torch.cat([*grams, _dot(direct_OND, start_OD)[:, None]], dim=1)


def _next_query(layer: Layer, direct_OND: Tensor, start_OD: Tensor) -> Tensor:
    """The centred vectors whose combination is the layer's output: N of them, the constant part and the bias."""
    owners, _, width = direct_OND.shape
    start_O1D = (start_OD * layer.norm3.weight).expand(owners, -1)[:, None]
    bias_O1D = layer.norm3.bias.expand(owners, 1, width)
    return _centred(torch.cat([direct_OND * layer.norm3.weight, start_O1D, bias_O1D], dim=1))


def _query_logits(layer: Layer, heads: int, context_OCD: Tensor, query_OED: Tensor) -> Tensor:
    """Attention logits of an owner's query vectors with its own contexts [O, N, E]."""
    owners, _, width = context_OCD.shape
    moved = _as_query(layer, heads, query_OED.reshape(-1, width)).view(heads, owners, -1, width).transpose(0, 1)
    return (context_OCD[:, None] @ moved.mT).flatten(1, 2)


def _fixed_logits(folded: FoldedLayer, context_OCD: Tensor, padding_ON1: Tensor | None) -> Tensor:
    fixed_OCH = context_OCD @ folded.fixed_HD.T + folded.fixed_shift_H
    fixed_ON1 = fixed_OCH.mT.flatten(1)[:, :, None]
    return fixed_ON1 if padding_ON1 is None else fixed_ON1 + padding_ON1


def _centre_logits(layer: Layer, heads: int, context_OCD: Tensor, centre_OD: Tensor) -> Tensor:
    moved_HOD = _as_query(layer, heads, centre_OD)
    return torch.cat([_dot(context_OCD, one_OD) for one_OD in moved_HOD], dim=1)[:, :, None]


def _basis(psi: Psi, direct_OND: Tensor, start_OD: Tensor) -> Tensor:
    """Q_1..Q_N and q0 of each owner [O, K, D]."""
    weight_D = psi.chain[-1].norm3.weight
    steps_OND = linear(direct_OND * weight_D, psi.mean_proj.weight)
    start_OD = linear(start_OD * weight_D, psi.mean_proj.weight)
    return torch.cat([steps_OND, start_OD.expand(len(direct_OND), -1)[:, None]], dim=1)


def _as_query(layer: Layer, heads: int, centred_ND: Tensor) -> Tensor:
    """W_k^T W_q (g1 * c) / sqrt(D / heads) by head [heads, N, D]: with a context it gives the attention logit, up to a
    constant over the contexts.
    """
    query_HNd = unflatten(linear(centred_ND * layer.norm1.weight, layer.q_proj.weight), 1, (heads, -1)).transpose(0, 1)
    return query_HNd @ unflatten(layer.k_proj.weight, 0, (heads, -1)) / math.sqrt(centred_ND.shape[1] / heads)


def _dot(vectors_OND: Tensor, one_OD: Tensor) -> Tensor:
    """Dot products of an owner's vectors with one of its own [O, N]: quicker than as products of matrices."""
    return (vectors_OND * one_OD[:, None]).sum(dim=2)


def _row_lengths(start_OD: Tensor, owners: int) -> Tensor:
    return start_OD.square().sum(dim=1, keepdim=True).expand(owners, 1)


def _centred(vectors: Tensor) -> Tensor:
    return vectors - vectors.mean(dim=-1, keepdim=True)
