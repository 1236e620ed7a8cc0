"""CAMoE's experts, gates and streams against loops; padding, order and blocks; GARE in every stream."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reelseek.config import LossConfig, MethodConfig
from reelseek.errors import ConfigError
from reelseek.losses.contrastive import info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.methods.builders import gare_head
from reelseek.methods.camoe import STREAMS, CamoeHead, mixed_experts, streams_of
from reelseek.methods.camoe_experts import AttentionExpert, MeanExpert, SqueezeExpert
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.recipes.objective import objective
from reelseek.records import Scores, Texts, Videos
from reelseek.score.blocks import score_in_blocks

D, PLACES = 16, 8


def randomised(module: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.3, generator=generator)
    return module.eval()


def experts() -> dict[str, nn.Module]:
    made = {
        "fusion": MeanExpert(),
        "entity": SqueezeExpert(D, max_frames=PLACES),
        "action": AttentionExpert(D, heads=2),
    }
    return {name: randomised(expert) for name, expert in made.items()}


def camoe_head(**settings: Any) -> CamoeHead:
    means = {name: MeanPoolHead(normalise_frames=False) for name in STREAMS}
    return randomised(CamoeHead(experts(), means, width=D, **settings))


def gare_heads(**settings: Any) -> CamoeHead:
    heads = {name: gare_head(MethodConfig(name="camoe-gare", frame_temperature=10.0), D) for name in STREAMS}
    return randomised(CamoeHead(experts(), heads, width=D, **settings))


def inputs(texts: int = 4, videos: int = 3, frames: int = 5) -> tuple[Texts, Videos]:
    generator = torch.Generator().manual_seed(7)
    parts = [Texts(torch.randn(texts, D, generator=generator)) for _ in STREAMS]
    lengths_V = torch.arange(videos) % frames + 1
    mask_VF = torch.arange(frames) < lengths_V[:, None]
    mask_VF[0] = True
    frames_VFD = torch.randn(videos, frames, D, generator=generator)
    return parts[0]._replace(streams=dict(zip(STREAMS[1:], parts[1:], strict=True))), Videos(frames_VFD, mask_VF)


# --- experts ---


def loop_mean(_: nn.Module, frames: list[list[float]]) -> list[float]:
    return [sum(frame[d] for frame in frames) / len(frames) for d in range(D)]


def loop_squeeze(expert: Any, frames: list[list[float]]) -> list[float]:
    """SE-attention of one video by its definition, one number at a time."""
    squeeze, inner, outer = expert.squeeze, expert.inner, expert.outer
    bias = float(squeeze.bias)
    scalars = [sum(w * x for w, x in zip(squeeze.weight[0].tolist(), frame, strict=True)) + bias for frame in frames]
    scalars += [0.0] * (expert.max_frames - len(frames))
    hidden = [
        max(0.0, sum(w * x for w, x in zip(row, scalars, strict=True)) + b)
        for row, b in zip(inner.weight.tolist(), inner.bias.tolist(), strict=True)
    ]
    weights = []
    for row, b in zip(outer.weight.tolist()[: len(frames)], outer.bias.tolist(), strict=False):
        weights.append(1 / (1 + math.exp(-sum(w * x for w, x in zip(row, hidden, strict=True)) - b)))
    return [sum(w * frame[d] for w, frame in zip(weights, frames, strict=True)) / sum(weights) for d in range(D)]


def loop_attention(expert: Any, frames: list[list[float]]) -> list[float]:
    """Mean of one pre-norm transformer layer over the frames of one video, head by head."""
    block, x_FD = expert.block, torch.tensor(frames)
    normed_FD = nn.functional.layer_norm(x_FD, (D,), block.norm_1.weight, block.norm_1.bias, 1e-12)
    fused = normed_FD @ block.qkv.weight.T + block.qkv.bias
    size, rows = D // block.heads, []
    for query in range(len(frames)):
        mixed = []
        for head in range(block.heads):
            q, k, v = (fused[:, part * D + head * size : part * D + (head + 1) * size] for part in range(3))
            logits = [float(q[query] @ k[other]) / math.sqrt(size) for other in range(len(frames))]
            total = sum(math.exp(logit) for logit in logits)
            mixed.append(
                sum((math.exp(logit) / total * v[other] for other, logit in enumerate(logits)), torch.zeros(size))
            )
        rows.append(x_FD[query] + block.mixed.weight @ torch.cat(mixed) + block.mixed.bias)
    y_FD = torch.stack(rows)
    inner = nn.functional.layer_norm(y_FD, (D,), block.norm_2.weight, block.norm_2.bias, 1e-12)
    inner = inner @ block.inner.weight.T + block.inner.bias
    inner = inner / (1 + torch.exp(-1.702 * inner))
    return (y_FD + inner @ block.outer.weight.T + block.outer.bias).mean(0).tolist()


LOOPS = {"fusion": loop_mean, "entity": loop_squeeze, "action": loop_attention}


def vector(expert: nn.Module, videos: Videos) -> Tensor:
    made_VFD = expert(*videos)
    return torch.stack([frames[real].mean(0) for frames, real in zip(made_VFD, videos.mask_VF, strict=True)])


@torch.no_grad()
@pytest.mark.parametrize("name", STREAMS)
def test_every_expert_is_its_loop(name: str) -> None:
    expert, (_, videos) = experts()[name], inputs(videos=4)
    found_VD = vector(expert, videos)
    for row, (frames_FD, real_F) in enumerate(zip(*videos, strict=True)):
        wanted = LOOPS[name](expert, frames_FD[real_F].tolist())
        torch.testing.assert_close(found_VD[row], torch.tensor(wanted), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", STREAMS)
def test_padding_never_reaches_an_expert(name: str) -> None:
    expert, (_, videos) = experts()[name], inputs()
    dirty_VFD = videos.frames_VFD.masked_fill(~videos.mask_VF[:, :, None], float("nan"))
    more = Videos(
        torch.cat([dirty_VFD, torch.full((3, 2, D), float("inf"))], dim=1),
        torch.cat([videos.mask_VF, torch.zeros(3, 2, dtype=torch.bool)], dim=1),
    )
    torch.testing.assert_close(vector(expert, more), vector(expert, videos), atol=1e-6, rtol=0)
    assert not expert(*more)[~more.mask_VF].any()


@torch.no_grad()
def test_a_single_frame_is_its_own_mean_and_weighted_mean() -> None:
    videos = Videos(torch.randn(2, 1, D), torch.ones(2, 1, dtype=torch.bool))
    for name in ("fusion", "entity"):
        torch.testing.assert_close(vector(experts()[name], videos), videos.frames_VFD[:, 0])


@torch.no_grad()
def test_order_of_frames_matters_to_squeezing_alone() -> None:
    videos = Videos(torch.randn(2, 4, D), torch.ones(2, 4, dtype=torch.bool))
    turned = videos._replace(frames_VFD=videos.frames_VFD.flip(1))
    for name in STREAMS:
        same = torch.allclose(vector(experts()[name], videos), vector(experts()[name], turned), atol=1e-5)
        assert same == (name != "entity")


@torch.no_grad()
def test_experts_start_near_the_mean() -> None:
    torch.manual_seed(0)
    videos = Videos(torch.randn(3, 6, 64), torch.ones(3, 6, dtype=torch.bool))
    for expert in (SqueezeExpert(64), AttentionExpert(64, heads=1)):
        likeness_V = torch.cosine_similarity(vector(expert, videos), videos.frames_VFD.mean(1))
        assert likeness_V.min() > 0.95


def test_squeezing_starts_from_the_mean_over_the_width() -> None:
    frames_VFD = torch.randn(2, 3, D)
    squeezed = SqueezeExpert(D).squeeze(frames_VFD)[:, :, 0]
    torch.testing.assert_close(squeezed, frames_VFD.mean(-1))


def test_more_frames_than_places_are_refused() -> None:
    frames_VFD = torch.randn(1, PLACES + 1, D)
    with pytest.raises(ValueError, match="places for 8"):
        SqueezeExpert(D, max_frames=PLACES)(frames_VFD, torch.ones(1, PLACES + 1, dtype=torch.bool))
    assert camoe_head().max_frames == PLACES


def test_squeezing_has_the_sizes_that_saved_runs_have() -> None:
    expert = SqueezeExpert(D)
    assert (expert.max_frames, expert.inner.out_features) == (128, 32)


# --- gates and streams ---


def test_who_mixes_what() -> None:
    every = ("fusion", "entity", "action")
    assert {
        gate: [mixed_experts(gate, stream, STREAMS) for stream in STREAMS] for gate in ("single", "multi", "full")
    } == {
        "single": [every, ("entity",), ("action",)],
        "multi": [every, ("fusion", "entity"), ("fusion", "action")],
        "full": [every, every, every],
    }


def loop_video(head: CamoeHead, gate: str, stream: str, frames: list[list[float]]) -> Tensor:
    """A stream's video vector: its gate's softmax over its experts' vectors."""
    made = {name: torch.tensor(LOOPS[name](expert, frames)) for name, expert in head.experts.items()}
    mixed = mixed_experts(gate, stream, STREAMS)  # type: ignore[arg-type]
    if len(mixed) == 1:
        return made[mixed[0]]
    mean = torch.tensor(loop_mean(MeanExpert(), frames))
    logits = [float(row @ mean) for row in head.gates[stream].weight]
    total = sum(math.exp(logit) for logit in logits)
    return sum(
        (math.exp(logit) / total * made[name] for name, logit in zip(mixed, logits, strict=True)), torch.zeros(D)
    )


@torch.no_grad()
@pytest.mark.parametrize("inference", ["fusion", "sum"])
@pytest.mark.parametrize("gate", ["single", "multi", "full"])
def test_scores_are_their_loops(gate: Any, inference: Any) -> None:
    head, (texts, videos) = camoe_head(gate=gate, inference=inference), inputs()
    scores = head.score(texts, videos)
    sentences = {"fusion": texts, **texts.streams}
    assert list(scores.streams) == list(STREAMS)
    for t in range(4):
        for v in range(3):
            frames = videos.frames_VFD[v][videos.mask_VF[v]].tolist()
            cosines = {}
            for stream in STREAMS:
                text, video = sentences[stream].pooled_TD[t], loop_video(head, gate, stream, frames)
                cosines[stream] = float(text @ video / (text.norm() * video.norm()))
                assert float(scores.streams[stream][t, v]) == pytest.approx(cosines[stream], abs=1e-5)
            wanted = sum(cosines.values()) / 3 if inference == "sum" else cosines["fusion"]
            assert float(scores.matrix_TV[t, v]) == pytest.approx(wanted, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("gate", ["single", "multi", "full"])
def test_shares_sum_to_one_and_are_even_at_the_start(gate: Any) -> None:
    means = {name: MeanPoolHead(normalise_frames=False) for name in STREAMS}
    fresh, videos = CamoeHead(experts(), means, width=D, gate=gate), inputs()[1]
    for stream, share_VE in fresh.shares(videos).items():
        count = len(fresh.mixed[stream])
        torch.testing.assert_close(share_VE, torch.full((3, count), 1 / count))
    for share_VE in camoe_head(gate=gate).shares(videos).values():
        torch.testing.assert_close(share_VE.sum(1), torch.ones(3))


def test_experts_that_are_all_means_have_no_gate_and_nothing_to_train() -> None:
    means = {name: MeanPoolHead(normalise_frames=False) for name in STREAMS}
    head = CamoeHead({name: MeanExpert() for name in STREAMS}, means, width=D, gate="full")
    assert not list(head.parameters())
    texts, videos = inputs()
    wanted_TV = MeanPoolHead(normalise_frames=False).score(texts, videos).matrix_TV
    torch.testing.assert_close(head.score(texts, videos).matrix_TV, wanted_TV)


@pytest.mark.parametrize("make", [camoe_head, gare_heads])
@pytest.mark.parametrize("gate", ["single", "multi", "full"])
def test_every_parameter_gets_a_gradient(make: Any, gate: str) -> None:
    head, (texts, videos) = make(gate=gate).train(), inputs(texts=3)
    losses = objective(LossConfig(kl_weight=0.01))(head.score(texts, videos), torch.tensor(20.0), None)
    losses["total"].backward()
    lacking = [name for name, weight in head.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A softmax does not see what is added to all its logits: keys and their biases.
    assert [name for name in lacking if "k_proj.bias" not in name] == []


@torch.no_grad()
@pytest.mark.parametrize("make", [camoe_head, gare_heads])
@pytest.mark.parametrize("inference", ["fusion", "sum"])
def test_prepared_and_in_blocks_equal_the_whole(make: Any, inference: str) -> None:
    head, (texts, videos) = make(inference=inference, gate="multi"), inputs(texts=5, videos=4)
    wanted_TV = head.score(texts, videos).matrix_TV
    torch.testing.assert_close(head.prepare(videos)(texts), wanted_TV, atol=1e-6, rtol=0)
    for block in (1, 2, 100):
        torch.testing.assert_close(score_in_blocks(head, texts, videos, block), wanted_TV, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("make", [camoe_head, gare_heads])
def test_padding_and_other_rows_never_change_a_score(make: Any) -> None:
    head, (texts, videos) = make(gate="full", inference="sum"), inputs()
    wanted_TV = head.score(texts, videos).matrix_TV
    longer = Videos(
        torch.cat([videos.frames_VFD, torch.full((3, 2, D), 1e6)], dim=1),
        torch.cat([videos.mask_VF, torch.zeros(3, 2, dtype=torch.bool)], dim=1),
    )
    torch.testing.assert_close(head.score(texts, longer).matrix_TV, wanted_TV, atol=1e-5, rtol=0)
    some, others = torch.tensor([2, 0]), torch.tensor([1, 2])
    part_TV = head.score(texts.each(itemgetter(some)), videos.each(itemgetter(others))).matrix_TV
    torch.testing.assert_close(part_TV, wanted_TV[some][:, others], atol=1e-5, rtol=0)
    one = head.score(texts.each(itemgetter(slice(1))), videos.each(itemgetter(slice(1)))).matrix_TV
    torch.testing.assert_close(one, wanted_TV[:1, :1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_fusion_alone_at_inference_needs_no_other_sentences() -> None:
    texts, videos = inputs()
    head = camoe_head()
    plain = texts._replace(streams=None)
    torch.testing.assert_close(head.prepare(videos)(plain), head.score(texts, videos).matrix_TV)
    with pytest.raises(ValueError, match=r"\['entity', 'action'\]"):
        head.score(plain, videos)
    with pytest.raises(ValueError, match="without the streams"):
        camoe_head(inference="sum").prepare(videos)(plain)


def test_a_video_without_frames_is_refused() -> None:
    texts, videos = inputs()
    with pytest.raises(ValueError, match="video 1 has no real frame"):
        camoe_head().score(texts, videos._replace(mask_VF=videos.mask_VF & (torch.arange(3) != 1)[:, None]))


# --- GARE in every stream ---


def test_each_stream_is_gare_over_its_own_frames() -> None:
    head, (texts, videos) = gare_heads(gate="multi"), inputs()
    scores, views = head.score(texts, videos), head.views(videos)
    assert set(scores.increments) == set(scores.streams) == set(STREAMS)
    for stream, sentence in {"fusion": texts, **texts.streams}.items():
        wanted = head.heads[stream].score_reference(Texts(sentence.pooled_TD), views[stream])
        torch.testing.assert_close(scores.streams[stream], wanted.matrix_TV, atol=1e-5, rtol=0)
        found_TVD = scores.increments[stream].dense()
        torch.testing.assert_close(found_TVD, wanted.increments, atol=1e-4, rtol=1e-4)


def test_the_objective_adds_the_streams_up() -> None:
    head, (texts, videos) = gare_heads(), inputs(texts=3)
    scores = head.score(texts, videos)
    config = LossConfig(stream_weight=0.5, kl_weight=0.1, norm_weight=0.2, direction_weight=0.3)
    parts = objective(config)(scores, torch.tensor(10.0), None)
    losses = {stream: info_nce(matrix, 10.0) for stream, matrix in scores.streams.items()}
    weights = {"kl": 0.1, "norm": 0.2, "direction": 0.3}
    terms = [gare_regularisers(increments, norm_bound=0.5) for increments in scores.increments.values()]
    wanted = losses["fusion"] + 0.5 * (losses["entity"] + losses["action"])
    wanted = wanted + sum(weight * sum(term[name] for term in terms) / 3 for name, weight in weights.items())
    torch.testing.assert_close(parts["total"], wanted)


def test_dual_softmax_over_streams_goes_down() -> None:
    head, (texts, videos) = camoe_head(gate="single").train(), inputs(texts=3)
    compute = objective(LossConfig(contrastive="dual_softmax", dual_softmax_temperature=10.0))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    seen = []
    for _ in range(30):
        parts = compute(head.score(texts, videos), torch.tensor(10.0), None)
        optimiser.zero_grad()
        parts["total"].backward()
        optimiser.step()
        seen.append(float(parts["total"].detach()))
    assert {f"dual_softmax/{stream}" for stream in STREAMS} < set(parts)
    assert seen[-1] < 0.7 * seen[0]


# --- settings ---


@pytest.mark.parametrize(
    ("named", "wanted"),
    [("fusion", ("fusion",)), ("action, fusion", ("fusion", "action")), ("fusion,entity,action", STREAMS)],
)
def test_streams_by_name(named: str, wanted: tuple[str, ...]) -> None:
    assert streams_of(MethodConfig(streams=named)) == wanted


@pytest.mark.parametrize("named", ["", "entity", "fusion,scene", "fusion,fusion", "fusion,"])
def test_wrong_streams_are_refused(named: str) -> None:
    with pytest.raises(ConfigError, match=r"method\.streams"):
        streams_of(MethodConfig(streams=named))


@pytest.mark.parametrize("wrong", [{"gate": "none"}, {"inference": "mean"}])
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        camoe_head(**wrong)


def test_experts_and_heads_must_be_of_the_same_streams() -> None:
    with pytest.raises(ValueError, match="same streams"):
        CamoeHead(experts(), {"fusion": MeanPoolHead()}, width=D)


def test_scores_of_streams_are_cosines() -> None:
    texts, videos = inputs(texts=6, videos=5)
    scores: Scores = camoe_head(inference="sum").score(texts, videos)
    assert all(matrix.abs().max() <= 1 for matrix in scores.streams.values())
    torch.testing.assert_close(scores.matrix_TV, sum(scores.streams.values()) / 3)
    assert scores.matrix_TV.abs().max() <= 1
