"""Rescorers by name: which prior they read, what they are called, what they say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reelseek.rank.ranking import ranks
from reelseek.score.priors import RESCORERS, Bank, rescorer
from reelseek.score.rescore import dual_softmax, dynamic_inverted_softmax, nearest_neighbour_normalisation


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 0.5


MATRIX = random(7, 4)
BANK = Bank(random(9, 4, seed=1), random(5, 4, seed=2))
OWN = [name for name, kind in RESCORERS.items() if "test" in kind.priors]
BANKED = [name for name, kind in RESCORERS.items() if "bank" in kind.priors]


@pytest.mark.parametrize("name", BANKED)
def test_a_bank_is_no_test_query(name):
    made = rescorer(name, "bank", bank=BANK)
    assert not made.sees_test_queries
    assert "bank of 9" in made.name
    whole = made.apply(MATRIX)
    assert not torch.equal(whole, MATRIX)
    for text in range(7):
        torch.testing.assert_close(made.apply(MATRIX[text : text + 1])[0], whole[text])


@pytest.mark.parametrize("name", OWN)
def test_a_batch_reads_itself_alone(name):
    made = rescorer(name, "batch", batch=3)
    assert made.sees_test_queries
    assert "batches of 3" in made.name
    whole = rescorer(name, "test")
    assert whole.sees_test_queries
    for rows, ends in ((7, (3, 7)), (6, (3, 6)), (5, (3, 5)), (4, (4,)), (3, (3,)), (2, (2,))):
        parts = torch.tensor_split(MATRIX[:rows], ends[:-1])
        torch.testing.assert_close(made.apply(MATRIX[:rows]), torch.cat([whole.apply(part) for part in parts]))
    torch.testing.assert_close(rescorer(name, "batch", batch=7).apply(MATRIX), whole.apply(MATRIX))
    changed = MATRIX.clone()
    changed[6] += torch.tensor([0.3, 0.0, -0.2, 0.1])
    torch.testing.assert_close(made.apply(changed)[:3], made.apply(MATRIX)[:3])


@pytest.mark.parametrize("name", OWN)
def test_no_query_is_ranked_without_another_one(name):
    sure = torch.eye(7) - 0.1 * torch.arange(7)
    assert ranks(rescorer(name, "batch", batch=3).apply(sure)).tolist() == [1] * 7
    with pytest.raises(ValueError, match="at least 2 queries, not 1"):
        rescorer(name, "batch", batch=1)


@pytest.mark.parametrize("name", RESCORERS)
def test_every_parameter_is_in_the_name(name):
    kind = RESCORERS[name]
    made = rescorer(name, kind.priors[-1], bank=BANK, parameters=dict.fromkeys(kind.defaults, 7))
    for parameter in kind.defaults:
        assert f"{parameter.replace('_', ' ')} 7" in made.name


def test_usual_parameters_and_priors_are_those_of_the_documentation():
    page = Path(__file__).parent.parent / "docs/protocols.md"
    said = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        row = line.split(" | ")
        name = row[0].strip("| `")
        if len(row) == 4 and name in RESCORERS:
            usual = dict(part.split(" ") for part in row[2].split(", "))
            priors = row[3].removesuffix(" |").replace("all", "`test`, `batch`, `bank`").replace("`", "").split(", ")
            said[name] = ({key: float(value) for key, value in usual.items()}, tuple(priors))
    assert said == {name: (dict(kind.defaults), kind.priors) for name, kind in RESCORERS.items()}


def test_parameters_reach_the_function():
    found = rescorer("nnn", "bank", bank=BANK, parameters={"alpha": 0.25, "k": 3}).apply(MATRIX)
    expected = nearest_neighbour_normalisation(MATRIX, alpha=0.25, k=3, bank_NV=BANK.queries_NV)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(rescorer("dual_softmax", "test").apply(MATRIX), dual_softmax(MATRIX, scale=100.0))
    expected = dynamic_inverted_softmax(MATRIX, scale=20.0, k=1, bank_NV=BANK.queries_NV)
    torch.testing.assert_close(rescorer("qb_norm", "bank", bank=BANK).apply(MATRIX), expected)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="no rescoring 'magic'; it can be dual_softmax"):
        rescorer("magic", "test")
    with pytest.raises(ValueError, match="CSLS cannot read the prior 'past'; it can read test or batch or bank"):
        rescorer("csls", "past")
    with pytest.raises(ValueError, match="CSLS has no alpha; its parameters are k"):
        rescorer("csls", "test", parameters={"alpha": 1})
    with pytest.raises(ValueError, match="needs a bank"):
        rescorer("csls", "bank")
    with pytest.raises(ValueError, match="of both sides"):
        rescorer("dual_is", "bank", bank=Bank(BANK.queries_NV))
    with pytest.raises(ValueError, match="cannot read the prior 'test'"):
        rescorer("dual_dis", "test")
    with pytest.raises(ValueError, match="cannot read the prior 'bank'"):
        rescorer("sinkhorn", "bank", bank=BANK)
    with pytest.raises(ValueError, match="at least 2 queries, not 0"):
        rescorer("csls", "batch", batch=0)
