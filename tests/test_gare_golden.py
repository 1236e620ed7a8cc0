"""GARE's head and losses against numbers that the authors' module printed for random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reelseek.errors import ModelError
from reelseek.losses.contrastive import info_nce
from reelseek.losses.increments import gare_regularisers
from reelseek.methods.gare import GareHead
from reelseek.records import Texts, Videos

GOLDEN = Path(__file__).parent / "golden"
SETS = ["gare_d64", "gare_d32_rect"]
PATHS = ["score", "score_reference"]


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


def weights(golden: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix("w."): value for key, value in golden.items() if key.startswith("w.")}


def run(name: str, path: str):
    golden = load(name)
    head = GareHead.from_authors(weights(golden), temperature=float(golden["temp"])).train()
    text, frames = golden["text"].clone().requires_grad_(), golden["frames"].clone().requires_grad_()
    videos = Videos(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
    return golden, head, text, frames, getattr(head, path)(Texts(text), videos)


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((value - expected).norm() / expected.norm()).detach())


def total_loss(scores) -> tuple[torch.Tensor, torch.Tensor]:
    parts = gare_regularisers(scores.increments, alpha=2.0, norm_bound=0.5)
    regularisers = 1e-4 * parts["kl"] + 0.01 * parts["direction"] + 0.01 * parts["norm"]
    return info_nce(scores.matrix_TV, 100.0) + regularisers, regularisers


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("path", PATHS)
def test_similarities_increments_and_regularisers(name, path):
    golden, _, _, _, scores = run(name, path)
    assert torch.allclose(scores.matrix_TV, golden["similarity"], rtol=0, atol=1e-5)
    dense = scores.increments if path == "score_reference" else scores.increments.dense()
    assert torch.allclose(dense, golden["delta"], rtol=0, atol=1e-4)
    parts = gare_regularisers(scores.increments, alpha=2.0, norm_bound=0.5)
    for part, key in {"kl": "kl", "direction": "direction_loss", "norm": "norm_loss"}.items():
        assert float(parts[part].detach()) == pytest.approx(float(golden[key]), rel=1e-4)
    regularisers = 1e-4 * parts["kl"] + 0.01 * parts["direction"] + 0.01 * parts["norm"]
    assert float(regularisers.detach()) == pytest.approx(float(golden["reg_loss"]), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_total_loss_and_its_gradients(path):
    golden, _, text, frames, scores = run("gare_d64", path)
    loss, _ = total_loss(scores)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(golden["total_loss_scale100"]), rel=1e-4)
    assert relative(text.grad, golden["grad_text"]) < 1e-4
    assert relative(frames.grad, golden["grad_frames"]) < 1e-4


def test_both_paths_give_every_weight_the_same_gradient():
    gradients = []
    for path in PATHS:
        _, head, _, _, scores = run("gare_d64", path)
        total_loss(scores)[0].backward()
        gradients.append({name: weight.grad for name, weight in head.named_parameters()})
    for name, expected in gradients[1].items():
        if name == "psi.layers.0.k_proj.bias":  # moves all logits of a softmax alike: zero in both, but for rounding
            assert float(gradients[0][name].norm()) < 1e-5
            assert float(expected.norm()) < 1e-5
        else:
            assert relative(gradients[0][name], expected) < 1e-4, name


def test_names_may_carry_a_prefix_and_dead_weights_are_left_behind():
    golden = load("gare_d32_rect")
    prefixed = {f"agent.psi.{name}": value for name, value in weights(golden).items()}
    prefixed["agent.psi.layers.0.linear2.weight"] = torch.zeros(3)
    head = GareHead.from_authors(prefixed, temperature=5.0)
    frames = golden["frames"]
    videos = Videos(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
    assert torch.allclose(head.score(Texts(golden["text"]), videos).matrix_TV, golden["similarity"], rtol=0, atol=1e-5)


def test_missing_and_misshapen_weights_are_named():
    whole = weights(load("gare_d32_rect"))
    with pytest.raises(ModelError, match="no tensor is named"):
        GareHead.from_authors({}, temperature=3.0)
    with pytest.raises(ModelError, match=r"mean_proj\.bias.*missing"):
        GareHead.from_authors({k: v for k, v in whole.items() if k != "mean_proj.bias"}, temperature=3.0)
    with pytest.raises(ModelError, match=r"linear1\.weight.*\(2, 2\)"):
        GareHead.from_authors({**whole, "layers.0.linear1.weight": torch.zeros(2, 2)}, temperature=3.0)
