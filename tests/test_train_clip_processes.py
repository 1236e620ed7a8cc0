"""Two processes train a tiny CLIP end to end over frames: every step, with the weights of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from reelseek.config import LossConfig, MethodConfig, TrainConfig
from reelseek.methods import build
from reelseek.methods.saved import load_backbone
from reelseek.recipes.frames import FrameBatch
from reelseek.recipes.objective import objective
from reelseek.records import Texts, Videos
from reelseek.training.loop import fit
from test_encoders_clip import CAPTIONS, tiny_folder

PAIRS, STEPS = 4, 3


def train(folder: Path, rank: int, world: int) -> None:
    """Three steps on this process's share of the same random frames."""
    torch.manual_seed(0)
    method = build(MethodConfig(name="clip4clip"), load_backbone(str(folder / "clip")))
    method.backbone.precision = "float32"
    share = slice(rank * PAIRS // world, (rank + 1) * PAIRS // world)
    captions = tuple(" ".join(CAPTIONS[: number + 1]) for number in range(PAIRS))

    def batches(epoch, start):
        for number in range(start, STEPS):
            pixels = torch.randn(PAIRS, 2, 3, 32, 32, generator=torch.Generator().manual_seed(number))
            mask_VF = torch.ones(PAIRS, 2, dtype=torch.bool)
            yield FrameBatch(captions[share], pixels[share], mask_VF[share], torch.eye(PAIRS, dtype=torch.bool))

    def encode(batch):
        texts = method.backbone.forward_texts(*method.backbone.tokenize(batch.captions))
        frames_VFD = method.backbone.forward_frames(batch.pixels_VF3SS.flatten(0, 1)).unflatten(0, (-1, 2))
        return Texts(texts.pooled_TD), Videos(frames_VFD, batch.mask_VF)

    config = TrainConfig(epochs=1, learning_rate=1e-3, backbone_learning_rate=1e-3, device="cpu", warmup=0)
    out = folder / f"run{world}"
    fit(method, batches, objective(LossConfig()), config=config, steps_per_epoch=STEPS, folder=out, encode=encode)


def test_towers_train_over_two_processes_as_over_one(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "clip", "clip")
    code = (
        "import os, pathlib, test_train_clip_processes as test\n"
        f"test.train(pathlib.Path({str(tmp_path)!r}), int(os.environ['RANK']), int(os.environ['WORLD_SIZE']))\n"
    )
    (tmp_path / "main.py").write_text(code)
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(tmp_path / "main.py")], env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr[-3000:]
    train(tmp_path, 0, 1)
    one, two = (load_file(tmp_path / f"run{world}" / "best.safetensors") for world in (1, 2))
    first = load_file(tmp_path / "clip" / "model.safetensors")
    moved = [
        name for name in one if not torch.equal(one[name], first.get(name.removeprefix("backbone.model."), one[name]))
    ]
    assert len(moved) > 20
    for name, value in one.items():
        assert torch.allclose(two[name], value, rtol=1e-3, atol=2e-5), name
