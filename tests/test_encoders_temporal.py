"""Temporal modules: against a loop written from the definition, and what padding, order and length may do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from reelseek.encoders.temporal import LstmTemporal, TransformerTemporal, initialise_from_text_tower

WIDTH, HEADS = 16, 2


@pytest.fixture(params=["lstm", "transformer"])
def temporal(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    if request.param == "lstm":
        module: nn.Module = LstmTemporal(WIDTH)
    else:
        module = TransformerTemporal(WIDTH, layers=2, heads=HEADS, max_frames=8)
    for parameter in module.parameters():
        nn.init.normal_(parameter.data, std=0.3)
    return module.eval()


def norm(x: list[float], layer: nn.LayerNorm) -> list[float]:
    mean = sum(x) / len(x)
    variance = sum((value - mean) ** 2 for value in x) / len(x)
    scale = [(value - mean) / math.sqrt(variance + layer.eps) for value in x]
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [value * w + b for value, w, b in zip(scale, weight, bias, strict=True)]


def linear(x: list[float], weight: list[list[float]], bias: list[float]) -> list[float]:
    return [sum(w * value for w, value in zip(row, x, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def loop_transformer(module: TransformerTemporal, frames: list[list[float]]) -> list[list[float]]:
    """seqTransf of one video without padding, one number at a time."""
    x = [
        [a + b for a, b in zip(frame, module.positions.weight[i].tolist(), strict=True)]
        for i, frame in enumerate(frames)
    ]
    size = WIDTH // HEADS
    for block in module.blocks:
        normed = [norm(frame, block.norm_1) for frame in x]
        fused = [linear(frame, block.qkv.weight.tolist(), block.qkv.bias.tolist()) for frame in normed]
        mixed = []
        for query in fused:
            row: list[float] = []
            for head in range(HEADS):
                at = slice(head * size, (head + 1) * size)
                q = query[:WIDTH][at]
                logits = [
                    sum(a * b for a, b in zip(q, key[WIDTH : 2 * WIDTH][at], strict=True)) / math.sqrt(size)
                    for key in fused
                ]
                shares = [math.exp(logit - max(logits)) for logit in logits]
                values = [value[2 * WIDTH :][at] for value in fused]
                row += [sum(s * v[d] for s, v in zip(shares, values, strict=True)) / sum(shares) for d in range(size)]
            mixed.append(linear(row, block.mixed.weight.tolist(), block.mixed.bias.tolist()))
        x = [[a + b for a, b in zip(old, new, strict=True)] for old, new in zip(x, mixed, strict=True)]
        for number, frame in enumerate(x):
            inner = linear(norm(frame, block.norm_2), block.inner.weight.tolist(), block.inner.bias.tolist())
            inner = [value / (1 + math.exp(-1.702 * value)) for value in inner]
            outer = linear(inner, block.outer.weight.tolist(), block.outer.bias.tolist())
            x[number] = [a + b for a, b in zip(frame, outer, strict=True)]
    return [[a + b for a, b in zip(old, new, strict=True)] for old, new in zip(frames, x, strict=True)]


def loop_lstm(module: LstmTemporal, frames: list[list[float]]) -> list[list[float]]:
    """seqLSTM of one video without padding; gates in the order input, forget, cell, output."""
    parts = {name: value.tolist() for name, value in module.lstm.state_dict().items()}
    hidden, cell, out = [0.0] * WIDTH, [0.0] * WIDTH, []
    for frame in frames:
        from_frame = linear(frame, parts["weight_ih_l0"], parts["bias_ih_l0"])
        from_hidden = linear(hidden, parts["weight_hh_l0"], parts["bias_hh_l0"])
        gates = [a + b for a, b in zip(from_frame, from_hidden, strict=True)]
        sigmoid = [1 / (1 + math.exp(-gate)) for gate in gates]
        for d in range(WIDTH):
            new = math.tanh(gates[2 * WIDTH + d])
            cell[d] = sigmoid[WIDTH + d] * cell[d] + sigmoid[d] * new
        hidden = [sigmoid[3 * WIDTH + d] * math.tanh(cell[d]) for d in range(WIDTH)]
        out.append([a + b for a, b in zip(frame, hidden, strict=True)])
    return out


def test_equals_the_loop(temporal: nn.Module) -> None:
    frames_VFD, lengths = torch.randn(3, 5, WIDTH), [5, 1, 3]
    mask_VF = torch.arange(5) < torch.tensor(lengths)[:, None]
    loop = loop_lstm if isinstance(temporal, LstmTemporal) else loop_transformer
    with torch.no_grad():
        found = temporal(frames_VFD, mask_VF)
    for number, length in enumerate(lengths):
        wanted = torch.tensor(loop(temporal, frames_VFD[number, :length].tolist()))
        torch.testing.assert_close(found[number, :length], wanted, atol=1e-5, rtol=0)


def test_norms_take_short_vectors_to_deviation_one_as_clip4clip_s_do() -> None:
    """Its epsilon is 1e-12: with 1e-5, these would come out at a third of that."""
    block = TransformerTemporal(WIDTH, layers=1, heads=HEADS, max_frames=8).blocks[0]
    short_D = 1e-3 * torch.randn(WIDTH)
    for layer in (block.norm_1, block.norm_2):
        assert float(layer(short_D).detach().std(unbiased=False)) == pytest.approx(1, abs=1e-4)


def test_padding_and_what_stands_in_it_change_nothing(temporal: nn.Module) -> None:
    frames_VFD = torch.randn(2, 4, WIDTH)
    mask_VF = torch.tensor([[True] * 4, [True, True, False, False]])
    longer_VFD = torch.cat([frames_VFD, 1e3 * torch.randn(2, 3, WIDTH)], 1)
    longer_VFD[1, 2:4] = -5.0
    longer_VF = torch.cat([mask_VF, torch.zeros(2, 3, dtype=torch.bool)], 1)
    with torch.no_grad():
        found, wanted = temporal(longer_VFD, longer_VF), temporal(frames_VFD, mask_VF)
    torch.testing.assert_close(found[:, :4][mask_VF], wanted[mask_VF], atol=1e-5, rtol=0)


@pytest.mark.parametrize("stuff", [math.nan, math.inf, 3e38])
def test_padding_that_is_no_number_changes_neither_values_nor_gradients(temporal: nn.Module, stuff: float) -> None:
    given_VFD, mask_VF = torch.randn(2, 4, WIDTH), torch.tensor([[True] * 4, [True, True, False, False]])
    found = []
    for value in (0.0, stuff):
        temporal.zero_grad()
        frames_VFD = given_VFD.masked_fill(~mask_VF[..., None], value).requires_grad_()
        real_ND = temporal(frames_VFD, mask_VF)[mask_VF]
        real_ND.square().sum().backward()
        assert frames_VFD.grad is not None
        found.append([real_ND.detach(), frames_VFD.grad, *(weight.grad.clone() for weight in temporal.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert all(torch.isfinite(tensor).all() for tensor in found[0])


def test_videos_do_not_see_each_other(temporal: nn.Module) -> None:
    frames_VFD, mask_VF = torch.randn(3, 4, WIDTH), torch.ones(3, 4, dtype=torch.bool)
    with torch.no_grad():
        together = temporal(frames_VFD, mask_VF)
        alone = torch.cat([temporal(frames_VFD[v : v + 1], mask_VF[v : v + 1]) for v in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_order_counts(temporal: nn.Module) -> None:
    frames_VFD, mask_VF = torch.randn(1, 4, WIDTH), torch.ones(1, 4, dtype=torch.bool)
    with torch.no_grad():
        forward, backward = temporal(frames_VFD, mask_VF).mean(1), temporal(frames_VFD.flip(1), mask_VF).mean(1)
    assert (forward - backward).abs().max() > 1e-3


def test_every_parameter_has_a_gradient_and_masked_frames_none(temporal: nn.Module) -> None:
    frames_VFD = torch.randn(2, 8, WIDTH, requires_grad=True)
    mask_VF = torch.arange(8) < torch.tensor([[8], [3]])
    temporal(frames_VFD, mask_VF)[mask_VF].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in temporal.parameters())
    assert frames_VFD.grad is not None
    assert not frames_VFD.grad[1, 3:].any()
    assert frames_VFD.grad[mask_VF].abs().sum(-1).min() > 0


def test_a_video_without_frames_is_named(temporal: nn.Module) -> None:
    mask_VF = torch.tensor([[True, True], [False, False]])
    with pytest.raises(ValueError, match=r"\[1\]"):
        temporal(torch.randn(2, 2, WIDTH), mask_VF)


def test_too_many_frames_name_the_limit() -> None:
    temporal = TransformerTemporal(WIDTH, layers=1, heads=HEADS, max_frames=8)
    with pytest.raises(ValueError, match="positions for 8"):
        temporal(torch.randn(1, 9, WIDTH), torch.ones(1, 9, dtype=torch.bool))


def test_the_lstm_refuses_real_frames_behind_padding() -> None:
    with pytest.raises(ValueError, match="behind"):
        LstmTemporal(WIDTH)(torch.randn(1, 3, WIDTH), torch.tensor([[True, False, True]]))


def test_the_transformer_allows_padding_anywhere() -> None:
    temporal = TransformerTemporal(WIDTH, layers=2, heads=HEADS, max_frames=8)
    frames_VFD, mask_VF = torch.randn(1, 4, WIDTH), torch.tensor([[False, True, False, True]])
    other_VFD = torch.where(mask_VF[..., None], frames_VFD, torch.tensor(7.0))
    with torch.no_grad():
        found, wanted = temporal(other_VFD, mask_VF), temporal(frames_VFD, mask_VF)
    torch.testing.assert_close(found[mask_VF], wanted[mask_VF], atol=1e-5, rtol=0)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="3 heads"):
        TransformerTemporal(WIDTH, layers=1, heads=3, max_frames=8)


# --- the start from CLIP's text tower ---


def clip_model(width: int = 32) -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = shared | {"vocab_size": 12, "max_position_embeddings": 10, "bos_token_id": 10, "eos_token_id": 11}
    text |= {"pad_token_id": 11}
    vision = shared | {"image_size": 16, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width))
    for parameter in model.parameters():
        nn.init.normal_(parameter.data, std=0.1)
    return model.eval()


def text_tower_over_frames(model: nn.Module, frames_VFD: Tensor, mask_VF: Tensor, layers: int) -> Tensor:
    """What transformers' own first layers make of frames instead of tokens, plus the outer residual."""
    tower = model.text_model
    x = frames_VFD + tower.embeddings.position_embedding.weight[: frames_VFD.shape[1]]
    mask = (~mask_VF)[:, None, None].expand(-1, 1, mask_VF.shape[1], -1) * -1e6
    for layer in tower.encoder.layers[:layers]:
        output = layer(x, attention_mask=mask)
        x = output[0] if isinstance(output, tuple) else output
    return frames_VFD + x


def test_the_start_is_the_text_tower_s_first_layers() -> None:
    model = clip_model()
    temporal = TransformerTemporal(32, layers=2, heads=2, max_frames=8)
    initialise_from_text_tower(temporal, model)
    frames_VFD = torch.randn(2, 6, 32)
    mask_VF = torch.arange(6) < torch.tensor([[6], [4]])
    with torch.no_grad():
        found = temporal(frames_VFD, mask_VF)
        wanted = text_tower_over_frames(model, frames_VFD, mask_VF, layers=2)
    torch.testing.assert_close(found[mask_VF], wanted[mask_VF], atol=1e-5, rtol=0)


def test_the_copy_is_a_copy() -> None:
    model = clip_model()
    temporal = TransformerTemporal(32, layers=1, heads=2, max_frames=8)
    initialise_from_text_tower(temporal, model)
    before = model.text_model.encoder.layers[0].mlp.fc1.weight.clone()
    with torch.no_grad():
        temporal.blocks[0].inner.weight.zero_()
    assert torch.equal(model.text_model.encoder.layers[0].mlp.fc1.weight, before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 16, "layers": 1, "heads": 2, "max_frames": 8}, "32 wide"),
        ({"width": 32, "layers": 4, "heads": 2, "max_frames": 8}, "3 layers"),
        ({"width": 32, "layers": 1, "heads": 2, "max_frames": 11}, "10 positions"),
    ],
)
def test_a_tower_that_does_not_fit_is_refused(settings: dict[str, int], words: str) -> None:
    temporal = TransformerTemporal(**settings)
    before = {name: value.clone() for name, value in temporal.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        initialise_from_text_tower(temporal, clip_model())
    assert all(torch.equal(before[name], value) for name, value in temporal.state_dict().items())
