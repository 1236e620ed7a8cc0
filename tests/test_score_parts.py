"""Scores taken apart: contributions written as loops, and every head's parts against its score."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reelseek.methods.camoe import CamoeHead
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.methods.gare import BaselineHead, GareHead
from reelseek.records import Videos
from reelseek.score.increments import dense_increments
from reelseek.score.parts import Parts, cosine_parts
from test_camoe import camoe_head, gare_heads, inputs
from test_gare_scorers import head_of, world

TEXTS, VIDEOS = world(5, 7, 4)
WORDS = TEXTS._replace(
    tokens_TLD=torch.randn(5, 6, 16, generator=torch.Generator().manual_seed(2)),
    mask_TL=torch.arange(6) < torch.tensor([[6], [1], [3], [5], [2]]),
)
VARIANTS: list[dict[str, Any]] = [
    *(
        {"side": side, "context": context, "query": query, "sign": sign}
        for side, context, query, sign in itertools.product(
            ("text", "video"), ("frames", "words"), ("gap", "text"), (1, -1)
        )
        if query == "gap" or sign == 1
    ),
    {"padding": "counted"},
    {"padding": "counted", "side": "video"},
    {"heads": 2, "layers": 2},
]


def spoilt(videos: Videos) -> Videos:
    """The same with padded frames that hold numbers, which must not matter."""
    return videos._replace(frames_VFD=videos.frames_VFD.masked_fill(~videos.mask_VF[:, :, None], 7.0))


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def length(a: list[float]) -> float:
    return math.sqrt(dot(a, a))


def plus(*vectors: list[float]) -> list[float]:
    return [sum(entries) for entries in zip(*vectors, strict=True)]


def times(factor: float, vector: list[float]) -> list[float]:
    return [factor * entry for entry in vector]


def loop_parts(
    text: list[float], frames: list[list[float]], shares: list[float], added: list[float] | None = None
) -> tuple[list[float], list[float], float]:
    """Weights, contributions and rest of one pair, frame by frame."""
    zero = [0.0] * len(text)
    pooled = plus(added or zero, *(times(share, frame) for share, frame in zip(shares, frames, strict=True)))
    both = length(text) * length(pooled)
    lengths = [share * length(frame) for share, frame in zip(shares, frames, strict=True)]
    contributions = [share * dot(text, frame) / both for share, frame in zip(shares, frames, strict=True)]
    return [one / sum(lengths) for one in lengths], contributions, dot(text, added or zero) / both


def softmax(values: list[float]) -> list[float]:
    most = max(values)
    powers = [math.exp(value - most) for value in values]
    return [power / sum(powers) for power in powers]


def real_frames(videos: Videos, v: int) -> list[list[float]]:
    return videos.frames_VFD[v][videos.mask_VF[v]].tolist()


def assert_pair(parts: Parts, t: int, v: int, expected: tuple[list[float], list[float], float]) -> None:
    weights, contributions, rest = expected
    count = len(weights)
    assert parts.weights_TVF[t, v, :count].tolist() == pytest.approx(weights, abs=2e-5)
    assert parts.contributions_TVF[t, v, :count].tolist() == pytest.approx(contributions, abs=1e-5)
    assert not parts.contributions_TVF[t, v, count:].any()
    assert not parts.weights_TVF[t, v, count:].any()
    assert float(parts.rest_TV[t, v]) == pytest.approx(rest, abs=1e-5)


def assert_adds_up(parts: Parts, matrix_TV: Tensor) -> None:
    torch.testing.assert_close(parts.matrix_TV, matrix_TV, atol=1e-5, rtol=0)
    torch.testing.assert_close(parts.weights_TVF.sum(dim=2), torch.ones_like(matrix_TV))


def test_cosine_parts_by_loops() -> None:
    draw = torch.Generator().manual_seed(1)
    frames_VFD, shares_TVF = torch.randn(3, 4, 6, generator=draw), torch.rand(2, 3, 4, generator=draw)
    for each in (1, 3):
        texts_TXD = torch.randn(2, each, 6, generator=draw)
        for added_TVD in (None, torch.randn(2, 3, 6, generator=draw)):
            parts = cosine_parts(texts_TXD, shares_TVF, frames_VFD, added_TVD)
            for t, v in itertools.product(range(2), range(3)):
                added = None if added_TVD is None else added_TVD[t, v].tolist()
                text = texts_TXD[t, v if each == 3 else 0].tolist()
                expected = loop_parts(text, frames_VFD[v].tolist(), shares_TVF[t, v].tolist(), added)
                assert_pair(parts, t, v, expected)


@pytest.mark.parametrize("normalise", [True, False])
def test_mean_pooling(normalise: bool) -> None:
    head = MeanPoolHead(normalise_frames=normalise)
    parts = head.explain(TEXTS, spoilt(VIDEOS))
    assert_adds_up(parts, head.score(TEXTS, VIDEOS).matrix_TV)
    for t, v in itertools.product(range(5), range(7)):
        frames = real_frames(VIDEOS, v)
        if normalise:
            frames = [times(1 / length(frame), frame) for frame in frames]
        expected = loop_parts(TEXTS.pooled_TD[t].tolist(), frames, [1 / len(frames)] * len(frames))
        assert_pair(parts, t, v, expected)
        if normalise:
            assert expected[0] == pytest.approx([1 / len(frames)] * len(frames))
    assert parts.increment is None
    assert parts.streams is None


def test_text_conditioned_weights() -> None:
    head = BaselineHead(temperature=2.5)
    parts = head.explain(TEXTS, spoilt(VIDEOS))
    assert_adds_up(parts, head.score(TEXTS, VIDEOS).matrix_TV)
    for t, v in itertools.product(range(5), range(7)):
        text, frames = TEXTS.pooled_TD[t].tolist(), real_frames(VIDEOS, v)
        shares = softmax([dot(text, frame) / 2.5 for frame in frames])
        assert_pair(parts, t, v, loop_parts(text, frames, shares))


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_gare_in_every_variant(settings: dict[str, Any]) -> None:
    head = head_of(**settings)
    texts = WORDS if settings.get("context") == "words" else TEXTS
    with torch.no_grad():
        parts = head.explain(texts, spoilt(VIDEOS))
        reference = head.score_reference(texts, VIDEOS)
    assert_adds_up(parts, reference.matrix_TV)
    assert parts.increment is not None
    side, counted = settings.get("side", "text"), settings.get("padding") == "counted"
    assert parts.increment.side == side
    dense_TVD = dense_increments(reference.increments)
    for t, v in itertools.product(range(5), range(7)):
        text, frames, increment = TEXTS.pooled_TD[t].tolist(), real_frames(VIDEOS, v), dense_TVD[t, v].tolist()
        padded = VIDEOS.mask_VF.shape[1] - len(frames) if counted else 0
        shares = softmax([dot(text, frame) / 2.5 for frame in frames] + [0.0] * padded)[: len(frames)]
        pooled = plus(*(times(share, frame) for share, frame in zip(shares, frames, strict=True)))
        if side == "text":
            expected = loop_parts(plus(text, increment), frames, shares)
        else:
            expected = loop_parts(text, frames, shares, increment)
        assert_pair(parts, t, v, expected)
        gap = plus(times(1 / (len(frames) + padded), plus(*frames)), times(-1, text))
        numbers = [float(number_TV[t, v]) for number_TV in parts.increment[1:]]
        assert numbers == pytest.approx(
            [
                length(increment),
                length(increment) / length(text if side == "text" else pooled),
                dot(increment, gap) / length(increment) / length(gap),
                dot(text, pooled) / length(text) / length(pooled),
            ],
            rel=1e-4,
            abs=1e-5,
        )


def test_the_rest_is_what_an_increment_of_the_video_s_side_adds() -> None:
    with torch.no_grad():
        assert head_of(side="video").explain(TEXTS, VIDEOS).rest_TV.abs().min() > 1e-4
        assert not head_of(side="text").explain(TEXTS, VIDEOS).rest_TV.any()


def test_gare_explains_evaluation_not_dropout() -> None:
    head = GareHead(16, temperature=2.5, dropout=0.5).eval()
    with torch.no_grad():
        assert_adds_up(head.explain(TEXTS, VIDEOS), head.score(TEXTS, VIDEOS).matrix_TV)


@pytest.mark.parametrize("gate", ["single", "full"])
@pytest.mark.parametrize("inference", ["fusion", "sum"])
@pytest.mark.parametrize("make", [camoe_head, gare_heads])
def test_camoe_s_streams(make: Any, inference: str, gate: str) -> None:
    head: CamoeHead = make(gate=gate, inference=inference)
    texts, videos = inputs()
    with torch.no_grad():
        parts, scores, views = head.explain(texts, spoilt(videos)), head.score(texts, videos), head.views(videos)
    assert_adds_up(parts, scores.matrix_TV)
    assert parts.streams is not None
    assert scores.streams is not None
    assert set(parts.streams) == set(head.streams)
    assert parts.counted == (head.streams if inference == "sum" else ("fusion",))
    for name, stream in parts.streams.items():
        assert_adds_up(stream, scores.streams[name])
        assert (stream.increment is not None) == (make is gare_heads)
    if make is camoe_head:  # the mean of the stream's own frames
        for t, v in itertools.product(range(4), range(3)):
            frames = real_frames(views["fusion"], v)
            expected = loop_parts(texts.pooled_TD[t].tolist(), frames, [1 / len(frames)] * len(frames))
            assert_pair(parts.streams["fusion"], t, v, expected)
    for t, v, f in itertools.product(range(4), range(3), range(5)):
        total = sum(float(parts.streams[name].contributions_TVF[t, v, f]) for name in parts.counted)
        assert float(parts.contributions_TVF[t, v, f]) == pytest.approx(total / len(parts.counted), abs=1e-6)
    assert parts.experts is not None
    assert set(parts.experts) == set(head.gates)
    for name, shares in parts.experts.items():
        assert tuple(shares) == head.mixed[name]
        torch.testing.assert_close(torch.stack(list(shares.values())).sum(dim=0), torch.ones(3))


@pytest.mark.parametrize(
    "head", [MeanPoolHead(), BaselineHead(temperature=2.0), head_of()], ids=lambda h: type(h).__name__
)
def test_a_video_without_a_real_frame_is_refused(head: Any) -> None:
    with pytest.raises(ValueError, match="video 2 has no real frame"):
        head.explain(TEXTS, VIDEOS._replace(mask_VF=VIDEOS.mask_VF & (torch.arange(7) != 2)[:, None]))
