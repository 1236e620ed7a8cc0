"""Towers that see a batch in parts get the whole batch's gradients: with dropout, processes, stops, half precision."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from reelseek.errors import TrainingError
from reelseek.records import Texts, Videos
from reelseek.training.cached import backward_in_parts, join, tensors_of
from reelseek.training.distributed import make_fabric
from reelseek.training.loop import fit, seed_all
from reelseek.training.step import Step, backward_at_once
from train_toy import CONFIG, Toy, objective, read_log

TRAINED = replace(CONFIG, epochs=2, batch_size=8, backbone_learning_rate=0.01)
COUNT, STEPS = 8, 3


class Raw(NamedTuple):
    """What towers take: numbers of a text and of a video's frames."""

    texts_TD: Tensor
    frames_VFD: Tensor
    mask_VF: Tensor
    relevance_TV: Tensor


class Towers(nn.Module):
    """A layer with dropout for texts, one for frames."""

    def __init__(self, dropout):
        super().__init__()
        self.text = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Dropout(dropout))
        self.frame = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Dropout(dropout))


def method_with(dropout=0.0, head_dropout=0.0):
    method = Toy(dropout=head_dropout)
    method.backbone = Towers(dropout)
    return method.train()


def encode_with(method):
    def encode(raw):
        return Texts(method.backbone.text(raw.texts_TD)), Videos(method.backbone.frame(raw.frames_VFD), raw.mask_VF)

    return encode


def raw_batch(seed=0, count=COUNT):
    generator = torch.Generator().manual_seed(seed)
    mask_VF = torch.arange(3) < torch.randint(1, 4, (count, 1), generator=generator)
    texts, frames = (torch.randn(*shape, generator=generator) for shape in ((count, 6), (count, 3, 5)))
    relevance_TV = torch.eye(count, dtype=torch.bool)
    relevance_TV[0, 1] = relevance_TV[1, 0] = True
    return Raw(texts, frames * mask_VF[..., None], mask_VF, relevance_TV)


def cut_by(size):
    return lambda raw: [
        Raw(*(tensor[start : start + size] for tensor in raw[:3]), raw.relevance_TV)
        for start in range(0, len(raw.texts_TD), size)
    ]


def share_of(raw, rank, world):
    share = slice(rank * len(raw.texts_TD) // world, (rank + 1) * len(raw.texts_TD) // world)
    return Raw(*(tensor[share] for tensor in raw[:3]), raw.relevance_TV)


def numbers(parts):
    return {name: float(value.detach()) for name, value in parts.items()}


def seed(*part):
    seed_all(5, *part)


def gradients(method):
    return {name: parameter.grad.clone() for name, parameter in method.named_parameters()}


def in_parts(method, size, precision="32-true"):
    fabric = make_fabric(replace(TRAINED, precision=precision))
    step = Step(method, objective, encode=encode_with(method))
    raw = raw_batch()
    return backward_in_parts(fabric, step, raw, cut_by(size)(raw), seed=seed, check=numbers), gradients(method)


@pytest.mark.parametrize("size", [1, 3, 4, 8, 100])
def test_parts_give_the_loss_and_every_gradient_of_the_whole_batch(size):
    whole = method_with()
    fabric = make_fabric(TRAINED)
    step = fabric.setup(Step(whole, objective, encode=encode_with(whole)))
    expected = backward_at_once(fabric, step, raw_batch(), seed=seed, check=numbers)
    found, found_gradients = in_parts(method_with(), size)
    assert found == pytest.approx(expected, rel=1e-6)
    for name, gradient in gradients(whole).items():
        assert gradient.abs().sum() > 0, name
        assert (found_gradients[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def test_tower_outputs_that_nothing_is_learnt_from_are_passed_over():
    """Tokens that no score reads, and texts from a tower that stays as it is."""

    def gradients_of(backward):
        method = method_with()
        method.backbone.text.requires_grad_(False)

        def encode(raw):
            texts, videos = encode_with(method)(raw)
            tokens_TLD = method.backbone.frame(raw.frames_VFD)
            return texts._replace(tokens_TLD=tokens_TLD, mask_TL=raw.mask_VF), videos

        fabric, raw = make_fabric(TRAINED), raw_batch()
        backward(fabric, Step(method, objective, encode=encode), raw)
        assert method.backbone.text[0].weight.grad is None
        return {name: parameter.grad for name, parameter in method.named_parameters() if parameter.requires_grad}

    expected = gradients_of(lambda fabric, step, raw: step(raw)["total"].backward())
    found = gradients_of(
        lambda fabric, step, raw: backward_in_parts(fabric, step, raw, cut_by(3)(raw), seed=seed, check=numbers)
    )
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def test_both_passes_draw_the_same_dropout():
    """The definition: all parts in one graph, each seeded as it is, then the losses seeded as they are."""
    method = method_with(dropout=0.5, head_dropout=0.3)
    encode, parts = encode_with(method), cut_by(3)(raw_batch())
    outputs = []
    for number, part in enumerate(parts, start=1):
        seed(number)
        outputs.append(encode(part))
    seed()
    joined = (
        Texts(torch.cat([texts.pooled_TD for texts, _ in outputs])),
        Videos(torch.cat([videos.frames_VFD for _, videos in outputs]), raw_batch().mask_VF),
    )
    expected = Step(method, objective).losses(*joined, raw_batch().relevance_TV)
    expected["total"].backward()
    found, found_gradients = in_parts(method_with(dropout=0.5, head_dropout=0.3), 3)
    assert found == pytest.approx(numbers(expected), rel=1e-6)
    for name, gradient in gradients(method).items():
        assert (found_gradients[name] - gradient).norm() < 1e-5 * gradient.norm(), name


def test_half_precision_stays_close():
    _, exact = in_parts(method_with(), 3)
    _, half = in_parts(method_with(), 3, precision="bf16-mixed")
    for name, gradient in exact.items():
        assert half[name].dtype == torch.float32
        assert (half[name] - gradient).norm() < 0.05 * gradient.norm(), name
        assert not torch.equal(half[name], gradient), name


def test_only_one_part_s_graph_is_alive_at_a_time():
    alive, most = [0], [0]

    class Counting(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            alive[0] -= 1
            return gradient

    method = method_with()
    plain = encode_with(method)

    def encode(raw):
        texts, videos = plain(raw)
        if torch.is_grad_enabled():
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            texts = Texts(Counting.apply(texts.pooled_TD))
        return texts, videos

    raw = raw_batch()
    step = Step(method, objective, encode=encode)
    backward_in_parts(make_fabric(TRAINED), step, raw, cut_by(2)(raw), seed=seed, check=numbers)
    assert (alive[0], most[0]) == (0, 1)


def test_tokens_streams_and_frames_of_different_lengths_are_padded_with_the_mask_false():
    def outputs(count, length, frames):
        tokens, mask = torch.ones(count, length, 2), torch.ones(count, length, dtype=torch.bool)
        texts = Texts(torch.ones(count, 4), tokens, mask, {"nouns": Texts(torch.full((count, 4), 3.0))})
        return texts, Videos(torch.ones(count, frames, 4), torch.ones(count, frames, dtype=torch.bool))

    texts, videos = join([outputs(2, 3, 1), outputs(1, 5, 2)])
    assert [tuple(tensor.shape) for tensor in tensors_of(texts, videos)] == [
        *((3, 4), (3, 5, 2), (3, 5), (3, 4), (3, 2, 4), (3, 2)),
    ]
    assert texts.mask_TL.tolist() == [[True] * 3 + [False] * 2] * 2 + [[True] * 5]
    assert videos.mask_VF.tolist() == [[True, False]] * 2 + [[True, True]]
    assert texts.tokens_TLD[0, 3:].eq(0).all()
    assert texts.streams["nouns"].pooled_TD.eq(3).all()
    assert videos.frames_VFD.sum() == 4 * 4


def run(folder, size, rank=0, world=1, method=None, objective=objective, progress=None):
    """Two epochs of three steps through the loop, in parts of `size` (None: at once)."""
    method = method or method_with(dropout=0.4, head_dropout=0.2)

    def batches(epoch, start):
        for number in range(start, STEPS):
            yield share_of(raw_batch(10 * epoch + number), rank, world)

    result = fit(
        method,
        batches,
        objective,
        config=TRAINED,
        steps_per_epoch=STEPS,
        folder=folder,
        encode=encode_with(method),
        cut=cut_by(size) if size else None,
        progress=progress,
        save_seconds=0.0,
    )
    return method, result


def test_a_run_in_parts_is_that_at_once_and_may_go_on_in_others(tmp_path):
    plain = {"dropout": 0.0, "head_dropout": 0.2}
    whole, _ = run(tmp_path / "whole", None, method=method_with(**plain))

    def fail(record):
        if record["step"] == 4:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "parts", 3, method=method_with(**plain), progress=fail)
    parts, result = run(tmp_path / "parts", 4, method=method_with(**plain))
    assert result.resumed_at == 3
    for name, value in whole.state_dict().items():
        assert torch.allclose(parts.state_dict()[name], value, rtol=1e-4, atol=1e-6), name
    ours, theirs = read_log(tmp_path / "parts"), read_log(tmp_path / "whole")
    assert [r["loss/total"] for r in ours] == pytest.approx([r["loss/total"] for r in theirs], rel=1e-5)


def test_a_stopped_run_with_dropout_goes_on_to_the_same_weights(tmp_path):
    whole, _ = run(tmp_path / "whole", 3)

    def fail(record):
        if record["step"] == 5:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "cut", 3, progress=fail)
    again, result = run(tmp_path / "cut", 3)
    assert result.resumed_at == 4
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_loss_that_is_no_number_stops_before_the_second_pass(tmp_path):
    def broken(scores, logit_scale, relevance_TV=None):
        return {"total": objective(scores, logit_scale)["total"] * torch.inf}

    with pytest.raises(TrainingError, match="loss is not finite at step 1"):
        run(tmp_path, 3, objective=broken)


def test_parts_without_towers_to_pass_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cut is for batches that pass towers"):
        fit(
            Toy(), lambda epoch, start: [], objective,
            config=TRAINED, steps_per_epoch=1, folder=tmp_path, cut=cut_by(2),
        )  # fmt: skip


def test_two_processes_train_in_parts_as_one(tmp_path):
    code = (
        "import os, pathlib, test_train_cached as test\n"
        f"folder = pathlib.Path({str(tmp_path)!r}) / 'two'\n"
        "rank, world = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])\n"
        "test.run(folder, 3, rank, world, method=test.method_with())\n"
    )
    (tmp_path / "main.py").write_text(code)
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(tmp_path / "main.py")], env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run(tmp_path / "one", None, method=method_with())
    one, two = (load_file(tmp_path / name / "best.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        assert torch.allclose(two[name], value, rtol=1e-4, atol=1e-5), name
    # Adam hides the size of a gradient, which clipping does not.
    ours, theirs = ([record["grad_norm"] for record in read_log(tmp_path / name)] for name in ("one", "two"))
    assert ours == pytest.approx(theirs, rel=1e-3)
