"""Every variant of GARE's increment: the plain path against a loop, the factorised paths against the plain one."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reelseek.config import MethodConfig
from reelseek.errors import ConfigError
from reelseek.losses.contrastive import info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.methods import gare, gare_factorised, gare_few, gare_plain, gare_words
from reelseek.methods.builders import gare_head
from reelseek.methods.gare import GareHead
from reelseek.methods.gare_factorised import factorised_scores
from reelseek.methods.gare_plain import draw_dropout, plain_scores
from reelseek.methods.gare_words import word_scores
from reelseek.records import Texts, Videos
from reelseek.score.blocks import score_in_blocks
from reelseek.score.increments import FactorisedIncrements, TextIncrements, dense_increments

QUERIES = [{"query": "gap", "sign": 1}, {"query": "gap", "sign": -1}, {"query": "text"}]
VARIANTS = [
    {"side": side, "context": context, **query, "heads": heads, "layers": layers, "padding": padding}
    for side, context, query, heads, layers, padding in itertools.product(
        ["text", "video"], ["frames", "words"], QUERIES, [1, 2], [1, 2], ["masked", "counted"]
    )
]
WIDTH = 8


def name_of(variant: dict) -> str:
    return "-".join(str(value) for value in variant.values())


every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
some_variants = pytest.mark.parametrize("variant", VARIANTS[::7], ids=name_of)


def lively(variant: dict, seed: int = 0, width: int = WIDTH, **more) -> GareHead:
    """A head in double precision whose every parameter matters."""
    head = GareHead(width, temperature=2.0, **variant, **more).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in head.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 2:
                weight.copy_(noise / math.sqrt(width))
            else:
                weight.copy_(0.3 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return head


def inputs(texts: int = 4, videos: int = 3, frames: int = 4, tokens: int = 5, seed: int = 0) -> tuple[Texts, Videos]:
    """Padded texts and videos; what is padded holds numbers that must not matter."""
    generator = torch.Generator().manual_seed(seed)
    mask_VF, mask_TL = (torch.rand(*shape, generator=generator) > 0.4 for shape in ((videos, frames), (texts, tokens)))
    mask_VF[:, 0] = mask_TL[:, 0] = True

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).double()

    return Texts(drawn(texts, WIDTH), drawn(texts, tokens, WIDTH), mask_TL), Videos(
        drawn(videos, frames, WIDTH), mask_VF
    )


def normed(vector: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    centred = vector - vector.mean()
    return centred / torch.sqrt(centred.square().mean() + norm.eps) * norm.weight + norm.bias


def applied(linear: torch.nn.Linear, vector: torch.Tensor) -> torch.Tensor:
    return linear.weight @ vector + linear.bias


def loop_increment(head: GareHead, query: torch.Tensor, contexts: list[torch.Tensor]) -> torch.Tensor:
    """One pair's increment, head by head and context by context."""
    heads, size = head.variant.heads, len(query) // head.variant.heads
    for layer in head.psi.chain:
        asked = applied(layer.q_proj, normed(query, layer.norm1))
        keys = [applied(layer.k_proj, normed(context, layer.norm1)) for context in contexts]
        values = [applied(layer.v_proj, normed(context, layer.norm1)) for context in contexts]
        mixed = []
        for number in range(heads):
            own = slice(number * size, (number + 1) * size)
            raw = [math.exp(float(asked[own] @ key[own]) / math.sqrt(size)) for key in keys]
            mixed.append(sum(w / sum(raw) * value[own] for w, value in zip(raw, values, strict=True)))
        inner = normed(applied(layer.out_proj, torch.cat(mixed)), layer.norm2)
        query = normed(inner + applied(layer.linear1, inner), layer.norm3)
    return applied(head.psi.mean_proj, query)


def loop(head: GareHead, texts: Texts, videos: Videos) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and increments from the definition. Counted: padded frames are zeros that enter the mean and the
    attention; a softmax over all slots gives the frame weights, of which the padded ones are then dropped.
    """
    variant = head.variant
    shape = len(texts.pooled_TD), len(videos.frames_VFD)
    matrix, increments = torch.zeros(shape).double(), torch.zeros(*shape, WIDTH).double()
    for i, j in itertools.product(*map(range, shape)):
        text, slots = texts.pooled_TD[i], range(videos.frames_VFD.shape[1])
        real = [bool(videos.mask_VF[j, f]) for f in slots]
        frames = [videos.frames_VFD[j, f] if real[f] else torch.zeros(WIDTH).double() for f in slots]
        if variant.padding == "masked":
            frames, real = [frame for frame, is_real in zip(frames, real, strict=True) if is_real], [True] * sum(real)
        raw = [math.exp(float(text @ frame) / variant.temperature) for frame in frames]
        pooled = sum(w / sum(raw) * int(is_real) * f for w, is_real, f in zip(raw, real, frames, strict=True))
        gap = variant.sign * (sum(frames) / len(frames) - text)
        words = [texts.tokens_TLD[i, k] for k in range(texts.mask_TL.shape[1]) if texts.mask_TL[i, k]]
        contexts = words if variant.context == "words" else frames
        increments[i, j] = loop_increment(head, gap if variant.query == "gap" else text, contexts)
        left = text + increments[i, j] if variant.side == "text" else text
        right = pooled + increments[i, j] if variant.side == "video" else pooled
        matrix[i, j] = left @ right / left.norm() / right.norm()
    return matrix, increments


@every_variant
@torch.no_grad()
def test_the_plain_path_is_the_definition(variant):
    head, (texts, videos) = lively(variant).eval(), inputs(3, 2)
    matrix, increments = loop(head, texts, videos)
    found = head.score_reference(texts, videos)
    assert torch.allclose(found.matrix_TV, matrix, atol=1e-10)
    assert torch.allclose(found.increments, increments, atol=1e-9)


@every_variant
@pytest.mark.parametrize("texts", [1, 2])
@torch.no_grad()
def test_a_few_texts_are_scored_as_the_definition_says(variant, texts, monkeypatch):
    monkeypatch.setattr(gare_few, "TILE_ELEMENTS", 3 * 8 * WIDTH)  # several tiles, the last one smaller
    head, (texts, videos) = lively(variant).eval(), inputs(texts, 7, frames=8)
    found, expected = head.score(texts, videos), head.score_reference(texts, videos)
    assert isinstance(found.increments, torch.Tensor) == (variant["context"] == "frames")
    assert torch.allclose(found.matrix_TV, expected.matrix_TV, atol=1e-10)
    assert torch.allclose(dense_increments(found.increments), expected.increments, atol=1e-9)
    whole = videos._replace(mask_VF=torch.ones_like(videos.mask_VF))
    assert torch.allclose(head.score(texts, whole).matrix_TV, head.score_reference(texts, whole).matrix_TV, atol=1e-10)


@torch.no_grad()
def test_a_few_texts_with_dropout_are_scored_with_the_factors_that_are_drawn(monkeypatch):
    head, (texts, videos) = lively({"layers": 2}, dropout=0.5).train(), inputs(2, 7, frames=8)
    noise = [draw_dropout((7, WIDTH), 0.5, texts.pooled_TD) for _ in range(2)]
    expected, _ = factorised_scores(head.psi, head.variant, texts.pooled_TD, videos, noise)
    drawn = iter(noise)
    monkeypatch.setattr(gare, "draw_dropout", lambda shape, rate, like: next(drawn).view(shape))
    assert torch.allclose(head.score(texts, videos).matrix_TV, expected, atol=1e-9)


def test_many_texts_and_gradients_take_the_factorised_path():
    head, (texts, videos) = lively({}).eval(), inputs(2, 3, frames=8)
    assert isinstance(head.score(texts, videos).increments, FactorisedIncrements)
    with torch.no_grad():
        more, _ = inputs(3, 3, frames=8)
        assert isinstance(head.score(more, videos).increments, FactorisedIncrements)
        assert isinstance(head.score(texts, videos).increments, torch.Tensor)


def test_a_few_texts_of_no_length_are_refused():
    head, (texts, videos) = lively({}).eval(), inputs(1, 3, frames=8)
    with torch.no_grad(), pytest.raises(ValueError, match="text 0"):
        head.score(Texts(torch.zeros_like(texts.pooled_TD)), videos)
    videos.frames_VFD[2, 0] = 0
    with torch.no_grad(), pytest.raises(ValueError, match="video 2"):
        head.score(texts, videos)


def leaves(texts: Texts, videos: Videos) -> list[torch.Tensor]:
    return [texts.pooled_TD, texts.tokens_TLD, videos.frames_VFD]


def gradients(head: GareHead, found, wanted: list[torch.Tensor], kl: float = 1e-2) -> list[torch.Tensor]:
    """Gradients of a loss that looks at scores and increments, of the inputs and of every weight."""
    matrix, increments = found
    parts = gare_regularisers(increments, norm_bound=1e9)
    size = min(matrix.shape)
    loss = info_nce(matrix[:size, :size], 20.0) + kl * parts["kl"] + parts["direction"] + parts["norm"]
    # The key's bias moves all logits of a softmax alike: its gradient is rounding.
    weights = [weight for name, weight in head.named_parameters() if not name.endswith("k_proj.bias")]
    found_gradients = torch.autograd.grad(loss, wanted + weights, allow_unused=True)
    return [torch.zeros(1) if gradient is None else gradient for gradient in found_gradients]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for value, wanted in zip(found, expected, strict=True):
        assert float((value - wanted).norm()) <= 1e-7 * float(wanted.norm()) + 1e-10


def both_paths(head: GareHead, texts: Texts, videos: Videos, rate: float = 0.0):
    """Scores and increments of the factorised and the plain path, with the same dropout factors."""
    owners = len(texts.pooled_TD if head.needs_words else videos.frames_VFD)
    noise = [draw_dropout((owners, WIDTH), rate, texts.pooled_TD) for _ in head.psi.chain] if rate else None
    if head.needs_words:
        fast = word_scores(head.psi, head.variant, texts, videos, noise)
    else:
        fast = factorised_scores(head.psi, head.variant, texts.pooled_TD, videos, noise)
    shared = noise and [factors[:, None] for factors in noise]
    return fast, plain_scores(head.psi, head.variant, texts, videos, shared)


@every_variant
def test_the_factorised_path_equals_the_plain_one_with_shared_dropout(variant):
    torch.manual_seed(0)
    head, (texts, videos) = lively(variant).train(), inputs()
    wanted = [tensor.requires_grad_() for tensor in leaves(texts, videos)]
    fast, plain = both_paths(head, texts, videos, rate=0.3)
    assert isinstance(fast[1], TextIncrements if variant["context"] == "words" else FactorisedIncrements)
    assert torch.allclose(fast[0], plain[0], atol=1e-10)
    assert torch.allclose(fast[1].dense(), plain[1], atol=1e-9)
    assert_close(gradients(head, fast, wanted), gradients(head, plain, wanted))


@every_variant
def test_single_precision_keeps_similarities_and_gradients(variant):
    head, (texts, videos) = lively(variant).float().eval(), inputs(5, 4)
    texts, videos = (
        type(part)(*(tensor if tensor is None or tensor.dtype == torch.bool else tensor.float() for tensor in part))
        for part in (texts, videos)
    )
    wanted = [tensor.requires_grad_() for tensor in leaves(texts, videos)]
    fast, plain = head.score(texts, videos), head.score_reference(texts, videos)
    assert torch.allclose(fast.matrix_TV, plain.matrix_TV, atol=1e-5)
    # Without the KL: over a single frame the increments do not vary, and its logarithm is of a rounding.
    found, expected = gradients(head, fast[:2], wanted, 0.0), gradients(head, plain[:2], wanted, 0.0)
    for value, right in zip(found, expected, strict=True):
        assert float((value - right).norm()) <= 1e-4 * float(right.norm()) + 1e-5


@settings(max_examples=40, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 999),
)
@torch.no_grad()
def test_the_paths_agree_in_every_shape(variant, sizes, seed):
    head, batch = lively(variant, seed).eval(), inputs(*sizes, seed=seed)
    fast, plain = head.score(*batch), head.score_reference(*batch)
    assert fast.matrix_TV.shape == sizes[:2]
    assert torch.allclose(fast.matrix_TV, plain.matrix_TV, atol=1e-8)
    assert torch.allclose(dense_increments(fast.increments), plain.increments, atol=1e-6)


@every_variant
def test_padding_may_hold_anything(variant):
    head, (texts, videos) = lively(variant).eval(), inputs()
    filled = Videos(
        videos.frames_VFD.masked_fill(~videos.mask_VF[:, :, None], math.nan).requires_grad_(), videos.mask_VF
    )
    tokens = texts.tokens_TLD.masked_fill(~texts.mask_TL[:, :, None], math.inf)
    other = texts._replace(tokens_TLD=tokens)
    expected = head.score(texts, videos).matrix_TV
    for score in (head.score, head.score_reference):
        assert torch.allclose(score(other, filled).matrix_TV, expected, atol=1e-9)
    head.score(other, filled).matrix_TV.sum().backward()
    assert torch.isfinite(filled.frames_VFD.grad).all()
    assert (filled.frames_VFD.grad[~videos.mask_VF] == 0).all()


@pytest.mark.parametrize("variant", [one for one in VARIANTS if one["padding"] == "masked"], ids=name_of)
@torch.no_grad()
def test_more_padding_twice_the_context_and_another_order_change_nothing(variant):
    head, (texts, videos) = lively(variant).eval(), inputs()
    expected = head.score(texts, videos).matrix_TV
    longer = Videos(
        torch.cat([videos.frames_VFD, torch.ones(3, 2, WIDTH).double()], dim=1),
        torch.cat([videos.mask_VF, torch.zeros(3, 2, dtype=torch.bool)], dim=1),
    )
    wordy = texts._replace(
        tokens_TLD=torch.cat([texts.tokens_TLD, torch.ones(4, 1, WIDTH).double()], dim=1),
        mask_TL=torch.cat([texts.mask_TL, torch.zeros(4, 1, dtype=torch.bool)], dim=1),
    )
    assert torch.allclose(head.score(wordy, longer).matrix_TV, expected, atol=1e-10)
    twice = Videos(videos.frames_VFD.repeat(1, 2, 1), videos.mask_VF.repeat(1, 2))
    told_twice = texts._replace(tokens_TLD=texts.tokens_TLD.repeat(1, 2, 1), mask_TL=texts.mask_TL.repeat(1, 2))
    assert torch.allclose(head.score(told_twice, twice).matrix_TV, expected, atol=1e-10)
    rows, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    turned = Texts(texts.pooled_TD[rows], texts.tokens_TLD[rows].flip(1), texts.mask_TL[rows].flip(1))
    moved = Videos(videos.frames_VFD[columns].flip(1), videos.mask_VF[columns].flip(1))
    assert torch.allclose(head.score(turned, moved).matrix_TV, expected[rows][:, columns], atol=1e-10)


@torch.no_grad()
def test_counted_padding_matters_where_frames_are_padded_and_only_there():
    texts, videos = inputs()
    whole = videos._replace(mask_VF=torch.ones_like(videos.mask_VF))
    for variant in VARIANTS:
        if variant["padding"] == "counted":
            counted, masked = lively(variant).eval(), lively({**variant, "padding": "masked"}).eval()
            same = torch.allclose(counted.score(texts, whole)[0], masked.score(texts, whole)[0], atol=1e-10)
            differs = not torch.allclose(counted.score(texts, videos)[0], masked.score(texts, videos)[0], atol=1e-6)
            # A text's own words, asked by the text alone, see no video; a cosine sees no length of the pooled frames.
            blind = variant["side"] == "text" and variant["context"] == "words" and variant["query"] == "text"
            assert same
            assert differs != blind


@pytest.mark.parametrize("variant", [one for one in VARIANTS if one["padding"] == "counted"], ids=name_of)
@torch.no_grad()
def test_counted_padding_to_a_number_of_frames_needs_no_company(variant):
    texts, videos = inputs()
    frames = videos.frames_VFD.shape[1] + 3
    free, fixed = lively(variant).eval(), lively({**variant, "counted_frames": frames}).eval()
    padded = Videos(
        torch.cat([videos.frames_VFD, torch.zeros_like(videos.frames_VFD[:, :3])], dim=1),
        torch.cat([videos.mask_VF, torch.zeros_like(videos.mask_VF[:, :3])], dim=1),
    )
    expected_TV = free.score(texts, padded).matrix_TV
    for score in (fixed.score, fixed.score_reference):
        assert torch.allclose(score(texts, videos).matrix_TV, expected_TV, atol=1e-10)
    shortest = int(videos.mask_VF.sum(dim=1).argmin())
    real = int(videos.mask_VF[shortest].sum())
    alone = Videos(videos.frames_VFD[shortest : shortest + 1, :real], videos.mask_VF[shortest : shortest + 1, :real])
    assert real < videos.frames_VFD.shape[1]
    assert torch.allclose(fixed.score(texts, alone).matrix_TV[:, 0], expected_TV[:, shortest], atol=1e-10)


@some_variants
@pytest.mark.parametrize("block", [1, 3])
@torch.no_grad()
def test_blocks_and_prepared_videos_equal_the_whole(variant, block):
    head, batch = lively(variant).eval(), inputs()
    assert torch.allclose(score_in_blocks(head, *batch, block), head.score(*batch).matrix_TV.float(), atol=1e-6)


@some_variants
def test_tiles_and_recomputation_change_nothing(variant, monkeypatch):
    head, (texts, videos) = lively(variant).train(), inputs(6, 5)
    wanted = [tensor.requires_grad_() for tensor in leaves(texts, videos)]
    torch.manual_seed(3)
    whole = both_paths(head, texts, videos, rate=0.3)[0]
    expected = gradients(head, whole, wanted)
    monkeypatch.setattr(gare_factorised, "TILE_WEIGHTS", 20)
    monkeypatch.setattr(gare_factorised, "TILE_TEXTS", 4)
    monkeypatch.setattr(gare_factorised, "KEPT_PAIRS", 1)
    monkeypatch.setattr(gare_words, "TILE_ELEMENTS", 4 * WIDTH)
    monkeypatch.setattr(gare_words, "KEPT_ELEMENTS", 1)
    torch.manual_seed(3)
    tiled = both_paths(head, texts, videos, rate=0.3)[0]
    assert torch.allclose(tiled[0], whole[0], atol=1e-12)
    assert_close(gradients(head, tiled, wanted), expected)


@some_variants
def test_plain_training_in_blocks_equals_the_whole(variant, monkeypatch):
    head, (texts, videos) = lively(variant, dropout=0.4, dropout_kind="pair").train(), inputs(6, 5)
    wanted = [tensor.requires_grad_() for tensor in leaves(texts, videos)]
    torch.manual_seed(3)
    whole = head.score(texts, videos)
    assert isinstance(whole.increments, torch.Tensor)
    monkeypatch.setattr(gare_plain, "BLOCK_ELEMENTS", 2 * 6 * WIDTH)
    torch.manual_seed(3)
    blocked = head.score(texts, videos)
    assert torch.allclose(blocked.matrix_TV, whole.matrix_TV, atol=1e-12)
    assert_close(gradients(head, blocked[:2], wanted), gradients(head, whole[:2], wanted))


@pytest.mark.parametrize(
    ("module", "bound", "texts", "settings"),
    [
        (gare_factorised, "KEPT_PAIRS", 60, {}),
        (gare_words, "KEPT_ELEMENTS", 6, {"context": "words"}),
        (gare_plain, "BLOCK_ELEMENTS", 6, {"dropout": 0.4, "dropout_kind": "pair"}),
        (gare_plain, "BLOCK_ELEMENTS", 6, {"dropout": 0.4, "dropout_kind": "pair", "context": "words"}),
    ],
)
def test_what_is_recomputed_is_not_kept_for_the_backward_pass(module, bound, texts, settings, monkeypatch):
    head, batch = lively(settings).train(), inputs(texts, 40)

    def kept() -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.numel()) or tensor, lambda x: x
        ):
            head.score(*batch)
        return sum(sizes)

    monkeypatch.setattr(gare_words, "TILE_ELEMENTS", 4 * WIDTH)
    whole = kept()
    monkeypatch.setattr(module, bound, 1)
    assert kept() < whole / 3


@pytest.mark.parametrize("kind", ["video", "pair"])
def test_dropout_is_shared_by_the_owner_of_the_context_or_drawn_for_every_pair(kind):
    texts, videos = inputs(2, 3)
    alike = Videos(videos.frames_VFD[:1].expand(3, -1, -1), videos.mask_VF[:1].expand(3, -1))
    head = lively({"context": "words"}, dropout=0.5, dropout_kind=kind).train()
    torch.manual_seed(0)
    drawn = head.score(texts, alike)
    same = torch.allclose(drawn.matrix_TV[:, 0], drawn.matrix_TV[:, 1], atol=1e-6)
    assert same == (kind == "video")
    torch.manual_seed(0)
    assert torch.allclose(drawn.matrix_TV, head.score_reference(texts, alike).matrix_TV, atol=1e-9)
    assert not torch.allclose(drawn.matrix_TV, head.eval().score(texts, alike).matrix_TV, atol=1e-6)


@every_variant
def test_every_parameter_is_live(variant):
    head, batch = lively(variant, dropout=0.0).train(), inputs()
    layers = variant["layers"]
    assert sum(weight.numel() for weight in head.parameters()) == (
        (5 * layers + 1) * (WIDTH**2 + WIDTH) + 6 * layers * WIDTH
    )
    head.score(*batch).matrix_TV.square().sum().backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        assert name.endswith("k_proj.bias") or bool((weight.grad != 0).any()), name


@some_variants
@pytest.mark.parametrize("direction", ["diversity", "orthogonality"])
def test_regularisers_do_not_depend_on_the_form(variant, direction):
    head, (texts, videos) = lively(variant).eval(), inputs()
    fast, plain = head.score(texts, videos), head.score_reference(texts, videos)
    dense = gare_regularisers(plain.increments, norm_bound=1e9, direction=direction)
    for name, value in gare_regularisers(fast.increments, norm_bound=1e9, direction=direction).items():
        assert float(value.detach()) == pytest.approx(float(dense[name].detach()), rel=1e-7)
    assert torch.equal(dense_increments(plain.increments), plain.increments)


def test_texts_without_words_and_other_widths_are_refused():
    texts, videos = inputs()
    head = lively({"context": "words"}).eval()
    empty, rows = texts.mask_TL.clone(), texts.pooled_TD.clone()
    empty[1], rows[2] = False, 0
    for score in (head.score, head.score_reference, lambda few, _: head.prepare(videos)(few)):
        with pytest.raises(ValueError, match="attends to words"):
            score(Texts(texts.pooled_TD), videos)
        with pytest.raises(ValueError, match="text 1 has no word"):
            score(texts._replace(mask_TL=empty), videos)
        with pytest.raises(ValueError, match="width 8, not 3"):
            score(texts._replace(tokens_TLD=texts.tokens_TLD[..., :3]), videos)
        with pytest.raises(ValueError, match="text 2 "):
            score(texts._replace(pooled_TD=rows), videos)
    frames = videos.frames_VFD.clone()
    frames[1, 0] = math.inf
    with pytest.raises(ValueError, match="video 1, frame 0"):
        head.score(texts, videos._replace(frames_VFD=frames))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"side": "both"}, "side must be 'text' or 'video'"),
        ({"context": "audio"}, "context must"),
        ({"query": "video"}, "query must"),
        ({"sign": 0}, "sign must be 1 or -1"),
        ({"padding": "zeros"}, "padding must"),
        ({"counted_frames": 12}, "counted_frames goes with"),
        ({"padding": "counted", "counted_frames": -1}, "0 or more"),
        ({"query": "text", "sign": -1}, "must be 1"),
        ({"layers": 0}, "layers must"),
        ({"heads": 3}, "divide the width 8"),
        ({"heads": 0}, "heads must"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        GareHead(WIDTH, temperature=1.0, **wrong)


def test_a_configuration_reaches_the_head_whole():
    config = MethodConfig(side="video", context="words", sign=-1, heads=2, increment_layers=3, padding="counted")
    config = replace(config, counted_frames=7)
    head = gare_head(config, WIDTH)
    assert head.variant == gare_plain.Variant(3.0, "video", "words", "gap", -1, 2, "counted")
    assert (len(head.psi.chain), head.counted_frames) == (3, 7)
    other = gare_head(
        MethodConfig(query="text", frame_temperature=5.0, dropout=0.6, dropout_kind="pair", initialisation="identity"),
        WIDTH,
    )
    assert other.variant == gare_plain.Variant(5.0, query="text")
    assert (other.dropout, other.dropout_kind) == (0.6, "pair")
    assert torch.equal(other.psi.chain[0].q_proj.weight, torch.eye(WIDTH))
    with pytest.raises(ConfigError, match="heads"):
        gare_head(replace(config, heads=5), WIDTH)
