"""The element-wise part of GARE's scores as one pass, compiled by numba: what is left after the matrix products.

Every function works on `LANES` texts at a time, whose numbers stay in the nearest cache; loops over them take few
arrays each, or the compiler would not turn them into vector instructions. The formulas are those of
`reelseek.methods.gare_factorised.pair_scores`, which tests hold them to. Imported only where numba is installed.

Shapes: V videos, F frames, T texts, L lanes (texts of one go); K = F + 1 vectors of a video's basis.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from reelseek.score.similarity import LEAST_SQUARE

LANES = 64
F32 = np.float32
NONE = F32(0.0)
ONE = F32(1.0)
TWO = F32(2.0)
LOG2_E = F32(1.4426950408889634)
LEAST_EXPONENT = F32(-126.0)
LEAST = F32(LEAST_SQUARE)
# No rule about NaN or infinity is given up: they must come through.
_FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}


@njit(nogil=True, fastmath=_FAST)
def _exponentials(logits_FL, bits_L, powers_L):
    """exp(x - largest of the frames), in place: 2^k by the exponent's bits, 2^d for |d| <= 1/2 by a polynomial."""
    top_L = logits_FL[0].copy()
    for f in range(1, len(logits_FL)):
        row_L = logits_FL[f]
        for i in range(LANES):
            top_L[i] = max(top_L[i], row_L[i])
    for f in range(len(logits_FL)):
        row_L = logits_FL[f]
        for i in range(LANES):
            y = max((row_L[i] - top_L[i]) * LOG2_E, LEAST_EXPONENT)
            k = np.floor(y + F32(0.5))
            d = y - k
            p = F32(1.5353362e-4)
            p = p * d + F32(1.3398874e-3)
            p = p * d + F32(9.6184373e-3)
            p = p * d + F32(5.5503324e-2)
            p = p * d + F32(2.4022648e-1)
            p = p * d + F32(6.9314720e-1)
            row_L[i] = p * d + ONE
            bits_L[i] = (np.int32(k) + np.int32(127)) << np.int32(23)
        for i in range(LANES):
            row_L[i] *= powers_L[i]


@njit(nogil=True, fastmath=_FAST)
def _form(gram_FF, weights_FL, left_FL, from_diagonal, out_L):
    """sum_fg left_f gram_fg weights_g; from_diagonal: a symmetric matrix between equal sides, half of it will do."""
    count = len(left_FL)
    row_L = np.empty(LANES, F32)
    out_L[:] = NONE
    for f in range(count):
        left_L = left_FL[f]
        if from_diagonal:
            g, factor = f + 1, TWO
            c = gram_FF[f, f]
            for i in range(LANES):
                row_L[i] = c * left_L[i]
        else:
            g, factor = 0, ONE
            row_L[:] = NONE
        while g + 1 < count:
            c, e = factor * gram_FF[f, g], factor * gram_FF[f, g + 1]
            a_L, b_L = weights_FL[g], weights_FL[g + 1]
            for i in range(LANES):
                row_L[i] += c * a_L[i] + e * b_L[i]
            g += 2
        if g < count:
            c, a_L = factor * gram_FF[f, g], weights_FL[g]
            for i in range(LANES):
                row_L[i] += c * a_L[i]
        for i in range(LANES):
            out_L[i] += row_L[i] * left_L[i]


@njit(nogil=True, fastmath=_FAST)
def _sum(factors_F, weights_FL, out_L):
    out_L[:] = NONE
    for f in range(len(weights_FL)):
        c, row_L = factors_F[f], weights_FL[f]
        for i in range(LANES):
            out_L[i] += c * row_L[i]


@njit(nogil=True, fastmath=_FAST)
def _products(values_FL, weights_FL, out_L):
    out_L[:] = NONE
    for f in range(len(weights_FL)):
        value_L, row_L = values_FL[f], weights_FL[f]
        for i in range(LANES):
            out_L[i] += value_L[i] * row_L[i]


@njit(nogil=True, fastmath=_FAST)
def _taken(tile_FT, first, bits_L, powers_L, out_FL):
    """The lanes' columns of a tile in float32; uint16 is bfloat16, the upper half of a float32."""
    for f in range(len(tile_FT)):
        part_L, out_L = tile_FT[f, first : first + LANES], out_FL[f]
        for i in range(LANES):
            bits_L[i] = np.int32(part_L[i]) << np.int32(16)
        for i in range(LANES):
            out_L[i] = powers_L[i]


@njit(nogil=True, fastmath=_FAST)
def _taken_whole(tile_FT, first, _bits_L, _powers_L, out_FL):
    for f in range(len(tile_FT)):
        part_L, out_L = tile_FT[f, first : first + LANES], out_FL[f]
        for i in range(LANES):
            out_L[i] = part_L[i]


@njit(nogil=True, fastmath=_FAST)
def _inverse_roots(squares_L, factor, shift, out_L):
    for i in range(LANES):
        out_L[i] = ONE / math.sqrt(max(squares_L[i], NONE) * factor + shift)


def _compiled(take):
    """The loop over a tile of videos, for tiles of one type of number."""

    @njit(nogil=True, fastmath=_FAST, cache=True)
    def score(
        logits_VFT, moved_VFT, products_VKT, centred_VT,
        spread_T, length_T,
        padding_VF, spread_V, centre_logits_VF, fixed_logits_VF, forms_VRF, pools_VRF, constant_p0_V, constant_q0_V,
        temperature, width, eps_3,
        matrix_VT,
    ):  # fmt: skip
        frames, texts = logits_VFT.shape[1], logits_VFT.shape[2]
        raw_FL, pooling_FL = np.empty((frames, LANES), F32), np.empty((frames, LANES), F32)
        moved_FL, products_KL = np.empty((frames, LANES), F32), np.empty((frames + 1, LANES), F32)
        attention_FL = moved_FL
        bits_L = np.empty(LANES, np.int32)
        powers_L = bits_L.view(F32)
        outputs_L, direct_L, steps_L = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
        pooled_L, mixed_L, total_L = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
        steps_start_L, direct_start_L = np.empty(LANES, F32), np.empty(LANES, F32)
        start_pooled_L, offset_pooled_L = np.empty(LANES, F32), np.empty(LANES, F32)
        text_pooled_L, text_steps_L = np.empty(LANES, F32), np.empty(LANES, F32)
        gap_L, both_L, third_L = np.empty(LANES, F32), np.empty(LANES, F32), np.empty(LANES, F32)
        ones_F, share = np.ones(frames, F32), ONE / width
        for v in range(len(logits_VFT)):
            forms_RF, pools_RF = forms_VRF[v], pools_VRF[v]
            p0, q0, spread = constant_p0_V[v], constant_q0_V[v], spread_V[v]
            for step in range((texts + LANES - 1) // LANES):
                at = min(step * LANES, texts - LANES)  # the last go overlaps the one before it
                take(logits_VFT[v], at, bits_L, powers_L, raw_FL)
                take(moved_VFT[v], at, bits_L, powers_L, moved_FL)
                take(products_VKT[v], at, bits_L, powers_L, products_KL)
                for f in range(frames):
                    pad, raw_L, pooling_L = padding_VF[v, f], raw_FL[f], pooling_FL[f]
                    for i in range(LANES):
                        pooling_L[i] = raw_L[i] + pad
                _exponentials(pooling_FL, bits_L, powers_L)

                text_spread_L, centred_L = spread_T[at : at + LANES], centred_VT[v, at : at + LANES]
                for i in range(LANES):
                    gap_L[i] = spread + text_spread_L[i] + TWO * centred_L[i]
                _inverse_roots(gap_L, share, eps_3[0], gap_L)
                for f in range(frames):
                    centre, fixed, row_L = centre_logits_VF[v, f], fixed_logits_VF[v, f], moved_FL[f]
                    for i in range(LANES):
                        row_L[i] = (row_L[i] + centre) * gap_L[i] + fixed
                _exponentials(attention_FL, bits_L, powers_L)

                _form(forms_RF[:frames], attention_FL, attention_FL, True, outputs_L)
                _form(forms_RF[frames : 2 * frames], attention_FL, attention_FL, True, direct_L)
                _form(forms_RF[2 * frames : 3 * frames], attention_FL, attention_FL, True, steps_L)
                _form(pools_RF[:frames], pooling_FL, pooling_FL, True, pooled_L)
                _form(pools_RF[frames : 2 * frames], pooling_FL, attention_FL, False, mixed_L)
                _sum(forms_RF[3 * frames], attention_FL, steps_start_L)
                _sum(forms_RF[3 * frames + 1], attention_FL, direct_start_L)
                _sum(ones_F, attention_FL, total_L)
                _sum(pools_RF[2 * frames], pooling_FL, start_pooled_L)
                _sum(pools_RF[2 * frames + 1], pooling_FL, offset_pooled_L)
                _products(raw_FL, pooling_FL, text_pooled_L)
                _products(products_KL, attention_FL, text_steps_L)

                for i in range(LANES):
                    outputs_L[i] = max(outputs_L[i], NONE) * share + eps_3[1] * total_L[i] * total_L[i]
                _inverse_roots(outputs_L, ONE, NONE, both_L)
                for i in range(LANES):
                    direct_L[i] = both_L[i] * max(direct_L[i], NONE) + TWO * direct_start_L[i]
                for i in range(LANES):
                    direct_L[i] = both_L[i] * direct_L[i] + p0
                _inverse_roots(direct_L, share, eps_3[2], third_L)
                for i in range(LANES):
                    both_L[i] *= third_L[i]
                for i in range(LANES):
                    text_steps_L[i] += third_L[i] * steps_start_L[i]
                for i in range(LANES):
                    steps_L[i] = both_L[i] * (both_L[i] * max(steps_L[i], NONE) + TWO * text_steps_L[i])
                start_L, text_length_L, out_L = (
                    products_KL[frames], length_T[at : at + LANES], matrix_VT[v, at : at + LANES],
                )  # fmt: skip
                for i in range(LANES):
                    steps_L[i] += third_L[i] * (third_L[i] * q0 + TWO * start_L[i]) + text_length_L[i]
                for i in range(LANES):
                    pooled_L[i] = math.sqrt(max(steps_L[i], LEAST)) * math.sqrt(max(pooled_L[i], LEAST))
                for i in range(LANES):
                    text_pooled_L[i] = temperature * text_pooled_L[i] + offset_pooled_L[i]
                for i in range(LANES):
                    text_pooled_L[i] += both_L[i] * mixed_L[i] + third_L[i] * start_pooled_L[i]
                for i in range(LANES):
                    out_L[i] = text_pooled_L[i] / pooled_L[i]

    return score


score_float32 = _compiled(_taken_whole)
score_bfloat16 = _compiled(_taken)
