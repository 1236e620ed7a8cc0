"""Two processes give the loss, the gradients and the weights of one process on the whole batch."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reelseek.errors import CheckpointError
from reelseek.records import Texts, Videos
from reelseek.training.batches import Batch
from reelseek.training.distributed import gather_of, gather_rows, gather_texts, gather_videos, make_fabric, share
from reelseek.training.loop import fit
from reelseek.training.step import Step
from train_toy import CONFIG, Toy, batches_of, dataset, objective, read_log, recall

SLURM = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7", "SLURM_PROCID": "3"}
"""What a batch job of four tasks finds in its environment."""
PLAIN = replace(CONFIG, epochs=2, batch_size=7)


def whole_batch():
    """Five texts of four videos: the texts' shares differ in size."""
    texts, videos = dataset(5)
    relevance = torch.zeros(5, 4, dtype=torch.bool)
    relevance[[0, 1, 2, 3, 4], [0, 1, 2, 3, 3]] = True
    return Batch(texts, Videos(videos.frames_VFD[:4], videos.mask_VF[:4]), relevance)


def trim(batch):
    """Drop the frames that are padding in this share: processes then hold different numbers of frames."""
    most = int(batch.videos.mask_VF.sum(1).max())
    return batch.texts, Videos(batch.videos.frames_VFD[:, :most], batch.videos.mask_VF[:, :most])


def gradients(rank, world, fabric=None):
    method = Toy()
    step = Step(method, objective, encode=trim, gather=gather_of(fabric) if fabric else None)
    module = fabric.setup(step) if fabric else step
    parts = module(share(whole_batch(), rank, world))
    fabric.backward(parts["total"]) if fabric else parts["total"].backward()
    found = {name: parameter.grad for name, parameter in method.named_parameters()}
    return found | {f"part {name}": value.detach() for name, value in parts.items()}


def train(folder):
    method, (texts, videos) = Toy(), dataset()
    batches, steps = batches_of(texts, videos, PLAIN)
    result = fit(
        method,
        batches,
        objective,
        config=PLAIN,
        steps_per_epoch=steps,
        folder=folder,
        validate=lambda: {"R@1": recall(method, texts, videos)},
    )
    return method, result


def train_apart(folder, name):
    """Two processes with a run folder each, as on two machines that share no disk; what they are told."""
    rank = int(os.environ["RANK"])
    told = "nothing"
    try:
        train(folder / f"{name}{rank}")
    except CheckpointError as error:
        told = str(error)
    (folder / f"told {name} {rank}").write_text(told)


def note_group(path):
    path.write_text("open" if torch.distributed.is_initialized() else "left")


def worker(folder):
    """What each of the two processes does."""
    folder = Path(folder)
    atexit.register(note_group, folder / f"group{os.environ['RANK']}")  # runs after all that is registered below
    fabric = make_fabric(CONFIG)
    save_file(
        gradients(fabric.global_rank, fabric.world_size, fabric), folder / f"grad{fabric.global_rank}.safetensors"
    )
    method, result = train(folder / "run")
    save_file(dict(method.state_dict()), folder / f"weights{fabric.global_rank}.safetensors")
    (folder / f"best{fabric.global_rank}").write_text(f"{result.best_epoch} {result.best_value}")
    if fabric.is_global_zero:
        shutil.copytree(folder / "run", folder / "resumed0")
    fabric.barrier()
    train_apart(folder, "fresh")
    train_apart(folder, "resumed")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    code = f"from test_train_distributed import worker; worker({str(folder)!r})"
    (folder / "main.py").write_text(code)
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | SLURM | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command.append(str(folder / "main.py"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_loss_and_gradients_are_those_of_one_process(two):
    expected = gradients(0, 1)
    assert all(value.abs().sum() > 0 for value in expected.values())
    for rank in range(2):
        found = load_file(two / f"grad{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-6), name


def test_one_process_in_a_job_of_several_tasks(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    fabric = make_fabric(CONFIG)
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


def test_processes_leave_their_group_before_they_end(two):
    """Gloo's threads abort a process that ends in its group, now and then, after all its work is done."""
    assert [(two / f"group{rank}").read_text() for rank in range(2)] == ["left", "left"]


def test_a_whole_run_is_that_of_one_process(two, tmp_path):
    method, result = train(tmp_path)
    for rank in range(2):
        for name, value in load_file(two / f"weights{rank}.safetensors").items():
            assert torch.allclose(value, method.state_dict()[name], rtol=1e-4, atol=1e-5), name
        assert (two / f"best{rank}").read_text() == f"{result.best_epoch} {result.best_value}"
    ours, theirs = read_log(tmp_path), read_log(two / "run")
    assert [record["step"] for record in ours] == [record["step"] for record in theirs]
    for one, other in zip(ours, theirs, strict=True):
        if one["kind"] == "step":
            assert one["loss/total"] == pytest.approx(other["loss/total"], rel=1e-4)
            assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("name", ["fresh", "resumed"])
def test_processes_with_a_folder_each_are_refused_before_the_first_step(two, name):
    for rank in range(2):
        folder = two / f"{name}{rank}"
        assert (two / f"told {name} {rank}").read_text() == (
            f"{folder}: 1 of 2 processes do not see what the first one writes there. "
            "--out must be one folder that all machines see."
        )
    assert not list((two / f"{name}1").iterdir())
    assert {path.name for path in (two / f"{name}0").iterdir()} == (
        {path.name for path in (two / "run").iterdir()} if name == "resumed" else set()
    )
    if name == "resumed":
        assert (two / "resumed0" / "log.jsonl").read_bytes() == (two / "run" / "log.jsonl").read_bytes()


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_shares_are_the_batch_cut_in_order(world):
    batch = whole_batch()
    tokens = Texts(
        batch.texts.pooled_TD, torch.randn(5, 3, 2), torch.ones(5, 3, dtype=torch.bool), {"verbs": batch.texts}
    )
    shares = [share(batch._replace(texts=tokens), rank, world) for rank in range(world)]
    assert torch.equal(torch.cat([part.texts.pooled_TD for part in shares]), batch.texts.pooled_TD)
    assert torch.equal(torch.cat([part.texts.tokens_TLD for part in shares]), tokens.tokens_TLD)
    assert torch.equal(torch.cat([part.texts.streams["verbs"].pooled_TD for part in shares]), batch.texts.pooled_TD)
    assert torch.equal(torch.cat([part.videos.mask_VF for part in shares]), batch.videos.mask_VF)
    assert all(part.relevance_TV is batch.relevance_TV for part in shares)


class FakeGather:
    """Plays the other process: hands out what two processes would hold, in the order in which they ask."""

    def __init__(self, own, other):
        self.answers = []
        for pair in zip(own, other, strict=True):
            sizes = [torch.tensor(tensor.shape) for tensor in pair]
            most = torch.stack(sizes).amax(0)
            self.answers.append(torch.stack(sizes))
            padded = [torch.zeros(*most.tolist(), dtype=torch.float32) for _ in pair]
            for target, tensor in zip(padded, pair, strict=True):
                target[tuple(slice(size) for size in tensor.shape)] = tensor.float()
            self.answers.append(torch.stack(padded).to(torch.uint8 if pair[0].dtype == torch.bool else pair[0].dtype))

    def __call__(self, tensor):
        answer = self.answers.pop(0)
        assert torch.equal(answer[0], tensor)
        return answer


def test_unequal_sizes_are_padded_with_the_mask_false():
    own = Videos(torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
    other = Videos(2 * torch.ones(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
    found = gather_videos(own, FakeGather(own, other))
    assert found.mask_VF.tolist() == [[True] * 3 + [False] * 2] * 2 + [[True] * 5]
    assert found.frames_VFD.sum((1, 2)).tolist() == [12.0, 12.0, 40.0]
    assert found.frames_VFD[0, 3:].eq(0).all()


def test_tokens_and_streams_are_gathered_too():
    def texts(count, length):
        mask = torch.ones(count, length, dtype=torch.bool)
        return Texts(
            torch.randn(count, 2), torch.randn(count, length, 2), mask, {"nouns": Texts(torch.randn(count, 2))}
        )

    own, other = texts(2, 3), texts(3, 1)
    order = [(text.pooled_TD, text.tokens_TLD, text.mask_TL, text.streams["nouns"].pooled_TD) for text in (own, other)]
    found = gather_texts(own, FakeGather(*order))
    assert torch.equal(found.pooled_TD, torch.cat([own.pooled_TD, other.pooled_TD]))
    assert found.mask_TL.tolist() == [[True] * 3] * 2 + [[True, False, False]] * 3
    assert found.tokens_TLD.shape == (5, 3, 2)
    assert torch.equal(found.streams["nouns"].pooled_TD[2:], other.streams["nouns"].pooled_TD)


def test_a_row_gather_carries_gradient():
    rows = torch.randn(2, 3, requires_grad=True)
    calls = []

    def gather(tensor):
        calls.append(tensor)
        return torch.stack([tensor, tensor])

    gather_rows(rows, gather).square().sum().backward()
    assert torch.allclose(rows.grad, 4 * rows.detach())
