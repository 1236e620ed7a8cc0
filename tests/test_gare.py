"""GARE's factorised path against its plain path and a loop, and what masks, order and scale promise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reelseek.losses.contrastive import info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.methods import gare_factorised
from reelseek.methods.gare import BaselineHead, GareHead
from reelseek.methods.gare_factorised import factorised_scores
from reelseek.methods.gare_plain import draw_dropout, plain_scores
from reelseek.records import Scores, Texts, Videos
from reelseek.score.blocks import score_in_blocks


def lively(width: int, seed: int = 0, temperature: float = 2.0, **settings) -> GareHead:
    """A head whose every parameter matters: random biases and LayerNorms too."""
    head = GareHead(width, temperature=temperature, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in head.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 2:
                weight.copy_(noise / math.sqrt(width))
            else:
                weight.copy_(0.3 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return head


def inputs(
    texts: int, videos: int, frames: int, width: int, seed: int = 0, padded: bool = True
) -> tuple[Texts, Videos]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(videos, frames, generator=generator) > (0.4 if padded else -1)
    mask[:, 0] = True
    batch = Videos(torch.randn(videos, frames, width, generator=generator), mask)
    return Texts(torch.randn(texts, width, generator=generator)), batch


def dense(scores: Scores) -> torch.Tensor:
    return scores.increments if isinstance(scores.increments, torch.Tensor) else scores.increments.dense()


def normed(vector: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    centred = vector - vector.mean()
    return centred / torch.sqrt(centred.square().mean() + norm.eps) * norm.weight + norm.bias


def loop(head: GareHead, texts: Texts, videos: Videos) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and increments of every pair from the definition, one pair and one real frame at a time."""
    (psi,), width = head.psi.chain, texts.pooled_TD.shape[1]
    matrix = torch.zeros(len(texts.pooled_TD), len(videos.frames_VFD))
    increments = torch.zeros(*matrix.shape, width)
    for i, text in enumerate(texts.pooled_TD):
        for j in range(len(videos.frames_VFD)):
            frames = [videos.frames_VFD[j, f] for f in range(videos.frames_VFD.shape[1]) if videos.mask_VF[j, f]]
            raw = torch.stack([text @ frame / head.temperature for frame in frames]).exp()
            pooled = sum(w * frame for w, frame in zip(raw / raw.sum(), frames, strict=True))
            gap = sum(frames) / len(frames) - text
            query = psi.q_proj.weight @ normed(gap, psi.norm1) + psi.q_proj.bias
            contexts = [normed(frame, psi.norm1) for frame in frames]
            keys = [psi.k_proj.weight @ context + psi.k_proj.bias for context in contexts]
            values = [psi.v_proj.weight @ context + psi.v_proj.bias for context in contexts]
            attention = torch.stack([query @ key / math.sqrt(width) for key in keys]).exp()
            mixed = sum(a * value for a, value in zip(attention / attention.sum(), values, strict=True))
            inner = normed(psi.out_proj.weight @ mixed + psi.out_proj.bias, psi.norm2)
            outer = normed(inner + psi.linear1.weight @ inner + psi.linear1.bias, psi.norm3)
            increments[i, j] = head.psi.mean_proj.weight @ outer + head.psi.mean_proj.bias
            corrected = text + increments[i, j]
            matrix[i, j] = corrected @ pooled / corrected.norm() / pooled.norm()
    return matrix, increments


@pytest.mark.parametrize("path", ["score", "score_reference"])
@torch.no_grad()
def test_both_paths_are_the_definition(path):
    head, (texts, videos) = lively(12).eval(), inputs(4, 3, 5, 12)
    matrix, increments = loop(head, texts, videos)
    scores = getattr(head, path)(texts, videos)
    assert torch.allclose(scores.matrix_TV, matrix, atol=1e-5)
    assert torch.allclose(dense(scores), increments, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    texts=st.integers(1, 6),
    videos=st.integers(1, 6),
    frames=st.integers(1, 5),
    width=st.sampled_from([4, 8, 16]),
    seed=st.integers(0, 1000),
    padded=st.booleans(),
)
@torch.no_grad()
def test_factorised_equals_plain_in_every_shape(texts, videos, frames, width, seed, padded):
    head, batch = lively(width, seed).eval(), inputs(texts, videos, frames, width, seed, padded)
    fast, plain = head.score(*batch), head.score_reference(*batch)
    assert fast.matrix_TV.shape == (texts, videos)
    assert torch.allclose(fast.matrix_TV, plain.matrix_TV, atol=1e-4)
    assert torch.allclose(dense(fast), dense(plain), atol=2e-3)


def gradients(head: GareHead, matrix: torch.Tensor, increments, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    parts = gare_regularisers(increments, alpha=2.0, norm_bound=1e9)
    size = min(matrix.shape)
    loss = info_nce(matrix[:size, :size], 20.0) + 1e-2 * parts["kl"] + parts["direction"] + parts["norm"]
    weights = [weight for name, weight in head.named_parameters() if name != "psi.layers.0.k_proj.bias"]
    return list(torch.autograd.grad(loss, leaves + weights))


def test_training_with_shared_dropout_equals_plain_with_the_same_factors():
    head, (texts, videos) = lively(16).double().train(), inputs(6, 5, 4, 16)
    text, frames = texts.pooled_TD.double().requires_grad_(), videos.frames_VFD.double().requires_grad_()
    noise_VD = draw_dropout((5, 16), 0.3, frames)
    fast = factorised_scores(head.psi, head.variant, text, Videos(frames, videos.mask_VF), [noise_VD])
    plain = plain_scores(head.psi, head.variant, Texts(text), Videos(frames, videos.mask_VF), [noise_VD[:, None]])
    without = plain_scores(head.psi, head.variant, Texts(text), Videos(frames, videos.mask_VF), None)
    assert torch.allclose(fast[0], plain[0], atol=1e-10)
    assert not torch.allclose(plain[0], without[0], atol=1e-3)
    assert torch.allclose(fast[1].dense(), plain[1], atol=1e-9)
    pairs = zip(gradients(head, *fast, [text, frames]), gradients(head, *plain, [text, frames]), strict=True)
    for value, expected in pairs:
        assert float((value - expected).norm() / expected.norm()) < 1e-7


def test_dropout_is_drawn_per_video_or_per_pair_and_only_in_training():
    texts, videos = inputs(3, 2, 4, 16, padded=False)
    texts = Texts(texts.pooled_TD[:1].expand(3, -1))
    for kind in ("video", "pair"):
        head = lively(16, dropout=0.5, dropout_kind=kind)
        torch.manual_seed(0)
        drawn = head.train().score(texts, videos)
        assert isinstance(drawn.increments, torch.Tensor) == (kind == "pair")
        alike = torch.allclose(drawn.matrix_TV[0], drawn.matrix_TV[1], atol=1e-5)
        assert alike == (kind == "video")
        calm = head.eval().score(texts, videos)
        assert not isinstance(calm.increments, torch.Tensor)
        assert torch.equal(calm.matrix_TV, head.score(texts, videos).matrix_TV)
        assert not torch.allclose(calm.matrix_TV, drawn.matrix_TV, atol=1e-4)
    again = lively(16, dropout=0.5).train()
    torch.manual_seed(0)
    fast = again.score(texts, videos).matrix_TV
    torch.manual_seed(0)
    assert torch.allclose(fast, again.score_reference(texts, videos).matrix_TV, atol=1e-5)


def test_dropout_factors_keep_the_mean():
    torch.manual_seed(0)
    factors = draw_dropout((200, 200), 0.3, torch.zeros(1))
    assert factors.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("head", [lively(16).eval(), BaselineHead(temperature=2.0)], ids=["gare", "baseline"])
@pytest.mark.parametrize("filler", [0.0, 1e3, math.nan, math.inf])
def test_padding_never_changes_a_score_or_a_gradient(head, filler):
    texts, videos = inputs(4, 3, 5, 16)
    frames = videos.frames_VFD.masked_fill(~videos.mask_VF[:, :, None], filler)
    longer = torch.cat([frames, torch.full((3, 2, 16), filler)], dim=1).requires_grad_()
    mask = torch.cat([videos.mask_VF, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    matrix = head.score(texts, Videos(longer, mask)).matrix_TV
    for j in range(3):
        alone = videos.frames_VFD[j, videos.mask_VF[j]][None]
        short = head.score(texts, Videos(alone, torch.ones(alone.shape[:2], dtype=torch.bool))).matrix_TV
        assert torch.allclose(matrix[:, j], short[:, 0], atol=1e-5)
    matrix.square().sum().backward()
    assert longer.grad is not None
    assert torch.isfinite(longer.grad).all()
    assert (longer.grad[~mask] == 0).all()


def test_reference_ignores_padding_too():
    head, (texts, videos) = lively(16).eval(), inputs(4, 3, 5, 16)
    filled = videos._replace(frames_VFD=videos.frames_VFD.masked_fill(~videos.mask_VF[:, :, None], math.nan))
    same = head.score_reference(texts, videos).matrix_TV
    assert torch.allclose(head.score_reference(texts, filled).matrix_TV, same, atol=1e-6)


@pytest.mark.parametrize("head", [lively(16).eval(), BaselineHead(temperature=2.0)], ids=["gare", "baseline"])
@torch.no_grad()
def test_order_of_texts_videos_and_frames(head):
    texts, videos = inputs(5, 4, 3, 16)
    matrix = head.score(texts, videos).matrix_TV
    rows, columns, order = torch.tensor([3, 1, 4, 0, 2]), torch.tensor([2, 0, 3, 1]), torch.tensor([2, 0, 1])
    moved = Videos(videos.frames_VFD[columns][:, order], videos.mask_VF[columns][:, order])
    assert torch.allclose(
        head.score(Texts(texts.pooled_TD[rows]), moved).matrix_TV, matrix[rows][:, columns], atol=1e-5
    )


@pytest.mark.parametrize("head", [lively(16).eval(), BaselineHead(temperature=2.0)], ids=["gare", "baseline"])
@torch.no_grad()
def test_showing_every_frame_twice_changes_nothing(head):
    texts, videos = inputs(5, 4, 3, 16)
    twice = Videos(videos.frames_VFD.repeat(1, 2, 1), videos.mask_VF.repeat(1, 2))
    assert torch.allclose(head.score(texts, twice).matrix_TV, head.score(texts, videos).matrix_TV, atol=1e-5)


@torch.no_grad()
def test_baseline_is_the_definition_and_one_frame_needs_no_weights():
    texts, videos = inputs(4, 3, 5, 8)
    matrix = BaselineHead(temperature=2.0).score(texts, videos).matrix_TV
    for i, text in enumerate(texts.pooled_TD):
        for j in range(3):
            frames = [videos.frames_VFD[j, f] for f in range(5) if videos.mask_VF[j, f]]
            weights = [math.exp(float(text @ frame) / 2.0) for frame in frames]
            pooled = sum(w * frame for w, frame in zip(weights, frames, strict=True))
            assert float(matrix[i, j]) == pytest.approx(float(text @ pooled / text.norm() / pooled.norm()), abs=1e-5)
    single = Videos(videos.frames_VFD[:, :1], videos.mask_VF[:, :1])
    one = BaselineHead(temperature=2.0).score(Texts(texts.pooled_TD * 7), single).matrix_TV
    expected = torch.nn.functional.cosine_similarity(texts.pooled_TD[:, None], single.frames_VFD[None, :, 0], dim=-1)
    assert torch.allclose(one, expected, atol=1e-6)


@torch.no_grad()
def test_large_embeddings_and_a_text_on_the_mean_frame_stay_exact():
    head, (texts, videos) = lively(16).eval(), inputs(4, 3, 5, 16)
    loud = Texts(texts.pooled_TD * 50), videos._replace(frames_VFD=videos.frames_VFD * 50)
    assert torch.allclose(head.score(*loud).matrix_TV, head.score_reference(*loud).matrix_TV, atol=1e-4)
    means = (videos.frames_VFD * videos.mask_VF[:, :, None]).sum(1) / videos.mask_VF.sum(1, keepdim=True)
    met = Texts(means), videos
    assert torch.allclose(head.score(*met).matrix_TV, head.score_reference(*met).matrix_TV, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e10])
@pytest.mark.parametrize("make", [lambda: lively(16).eval(), lambda: lively(16, side="video").eval(), None])
@torch.no_grad()
def test_embeddings_of_any_scale_have_their_cosine(make, scale):
    head = BaselineHead(temperature=2.0) if make is None else make()
    texts, videos = inputs(9, 3, 5, 16)
    if scale < 1 and make is not None:  # nothing is added: LayerNorm gives increments of one size at any scale
        torch.nn.init.zeros_(head.psi.mean_proj.weight)
        torch.nn.init.zeros_(head.psi.mean_proj.bias)
    texts, videos = texts.each(lambda x: x * scale), Videos(videos.frames_VFD * scale, videos.mask_VF)
    whole = texts.each(torch.Tensor.double), Videos(videos.frames_VFD.double(), videos.mask_VF)
    wanted_TV = head.double().score(*whole).matrix_TV.float()
    head.float()
    assert wanted_TV.abs().max() > 0.2
    for found_TV in (head.score(texts, videos).matrix_TV, head.score(Texts(texts.pooled_TD[:1]), videos).matrix_TV):
        torch.testing.assert_close(found_TV, wanted_TV[: len(found_TV)], atol=1e-4, rtol=1e-3)


def test_the_baseline_scores_half_precision_in_whole():
    head, (texts, videos) = BaselineHead(temperature=2.0), inputs(3, 4, 5, 16)
    half = texts.each(torch.Tensor.half), Videos(videos.frames_VFD.half(), videos.mask_VF)
    found_TV = head.score(*half).matrix_TV
    assert found_TV.dtype == torch.float32
    torch.testing.assert_close(found_TV, head.score(texts, videos).matrix_TV, atol=2e-2, rtol=0)


@pytest.mark.parametrize("block", [1, 3, 64])
@pytest.mark.parametrize("head", [lively(16).eval(), BaselineHead(temperature=2.0)], ids=["gare", "baseline"])
@torch.no_grad()
def test_blocks_equal_the_whole(head, block):
    batch = inputs(7, 5, 4, 16)
    assert torch.allclose(score_in_blocks(head, *batch, block), head.score(*batch).matrix_TV, atol=1e-5)


@torch.no_grad()
def test_prepared_videos_score_any_texts_as_before():
    head, (texts, videos) = lively(16, dropout=0.5).eval(), inputs(7, 5, 4, 16)
    scorer = head.prepare(videos)
    expected = head.score(texts, videos).matrix_TV
    assert torch.allclose(scorer(texts), expected, atol=1e-6)
    assert torch.allclose(scorer(Texts(texts.pooled_TD[2:3])), expected[2:3], atol=1e-5)
    with pytest.raises(ValueError, match="text 0 "):
        scorer(Texts(texts.pooled_TD * 0))


@pytest.mark.parametrize(("weights", "texts_a_tile"), [(1, 1), (40, 2), (24, 3)])
def test_tiles_and_recomputation_change_nothing(monkeypatch, weights, texts_a_tile):
    head, (texts, videos) = lively(16).double().train(), inputs(6, 5, 4, 16)
    text, frames = texts.pooled_TD.double().requires_grad_(), videos.frames_VFD.double().requires_grad_()
    noise_VD = draw_dropout((5, 16), 0.3, frames)
    matrix, increments = factorised_scores(head.psi, head.variant, text, Videos(frames, videos.mask_VF), [noise_VD])
    expected = gradients(head, matrix, increments, [text, frames])
    monkeypatch.setattr(gare_factorised, "TILE_WEIGHTS", weights)
    monkeypatch.setattr(gare_factorised, "TILE_TEXTS", texts_a_tile)
    monkeypatch.setattr(gare_factorised, "KEPT_PAIRS", 10)
    tiled, tiled_increments = factorised_scores(
        head.psi, head.variant, text, Videos(frames, videos.mask_VF), [noise_VD]
    )
    assert torch.allclose(tiled, matrix, atol=1e-12)
    for value, wanted in zip(gradients(head, tiled, tiled_increments, [text, frames]), expected, strict=True):
        assert torch.allclose(value, wanted, atol=1e-9)


def test_a_bad_frame_in_a_later_tile_keeps_its_number(monkeypatch):
    monkeypatch.setattr(gare_factorised, "TILE_WEIGHTS", 1)
    texts, videos = inputs(2, 4, 3, 16, padded=False)
    videos.frames_VFD[3, 1] = 0
    with pytest.raises(ValueError, match="video 3, frame 1"):
        lively(16).eval().score(texts, videos)


def test_every_parameter_is_live():
    assert sum(weight.numel() for weight in GareHead(512, temperature=3.0).parameters()) == 1_579_008
    for kind in ("video", "pair"):
        head = lively(8, dropout_kind=kind).train()
        head.score(*inputs(3, 3, 4, 8)).matrix_TV.square().sum().backward()
        for name, weight in head.named_parameters():
            assert weight.grad is not None, name
            assert torch.isfinite(weight.grad).all(), name
            # The key's bias moves all logits of a softmax alike, so its gradient is rounding and may be zero.
            assert name == "psi.layers.0.k_proj.bias" or bool((weight.grad != 0).any()), name


@torch.no_grad()
def test_initialisations():
    torch.manual_seed(0)
    normal, identity = (GareHead(64, temperature=3.0, initialisation=kind) for kind in ("normal", "identity"))
    assert float(normal.psi.chain[0].q_proj.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert torch.equal(identity.psi.chain[0].q_proj.weight, torch.eye(64))
    assert float(identity.psi.mean_proj.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert not normal.psi.chain[0].linear1.bias.any()


def test_half_precision_towers_and_autocast_are_scored_in_the_weights_type():
    head, (texts, videos) = lively(16).eval(), inputs(4, 3, 5, 16)
    half = Texts(texts.pooled_TD.bfloat16()), videos._replace(frames_VFD=videos.frames_VFD.bfloat16())
    expected = head.score(Texts(half[0].pooled_TD.float()), half[1]._replace(frames_VFD=half[1].frames_VFD.float()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = head.score(*half)
    assert scores.matrix_TV.dtype == torch.float32
    assert torch.equal(scores.matrix_TV, expected.matrix_TV)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 4])
def test_a_head_in_half_precision_is_refused_in_words(kind, count):
    head, (texts, videos) = lively(16).eval().to(kind), inputs(count, 3, 5, 16)
    for score in (head.score, head.score_reference, lambda texts, videos: head.prepare(videos)(texts)):
        with torch.no_grad(), pytest.raises(ValueError, match="scores need them in float32 or float64"):
            score(texts, videos)


@pytest.mark.parametrize("path", ["score", "score_reference"])
def test_bad_input_is_named(path):
    head, (texts, videos) = lively(16), inputs(4, 3, 5, 16)
    score = getattr(head, path)
    broken = texts.pooled_TD.clone()
    broken[2] = math.nan
    with pytest.raises(ValueError, match="text 2 "):
        score(Texts(broken), videos)
    frames = videos.frames_VFD.clone()
    frames[1, 0] = 0
    with pytest.raises(ValueError, match="video 1, frame 0"):
        score(texts, videos._replace(frames_VFD=frames))
    with pytest.raises(ValueError, match="video 0 has no real frame"):
        score(texts, videos._replace(mask_VF=torch.zeros(3, 5, dtype=torch.bool)))
    with pytest.raises(ValueError, match="width 16"):
        score(Texts(torch.ones(2, 8)), videos)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": 1.0, "dropout": 1.0}, "dropout must"),
        ({"temperature": 1.0, "dropout_kind": "token"}, "dropout_kind"),
        ({"temperature": 1.0, "initialisation": "zeros"}, "initialisation"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GareHead(8, **settings)


def test_baseline_refuses_a_temperature_of_zero_and_names_bad_rows():
    with pytest.raises(ValueError, match="temperature"):
        BaselineHead(temperature=0.0)
    texts, videos = inputs(2, 2, 2, 4)
    with pytest.raises(ValueError, match="text 0 "):
        BaselineHead(temperature=1.0).score(Texts(texts.pooled_TD * 0), videos)
