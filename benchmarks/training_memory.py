"""Peak memory of one end-to-end training step: `python benchmarks/training_memory.py`.

A random CLIP (6 layers of width 128, 64 px, patches of 8) takes one step over 64 pairs of 4 frames: at once, in parts
with cached gradients, with recomputed layers, and with both; each in a process of its own, on one thread. Counted is
the resident memory above what the process held before the step. Prints a table and writes
benchmarks/results/training_memory.json.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from reelseek.config import LossConfig, TrainConfig
from reelseek.methods.clip4clip import MeanPoolHead
from reelseek.methods.method import Method
from reelseek.recipes.objective import objective
from reelseek.recipes.towers import prepare_towers
from reelseek.records import Texts, Videos
from reelseek.training.cached import backward_in_parts
from reelseek.training.distributed import make_fabric
from reelseek.training.loop import seed_all
from reelseek.training.step import Step, backward_at_once

RESULTS = Path(__file__).parent / "results" / "training_memory.json"
PAIRS, FRAMES, WORDS, SIDE = 64, 4, 12, 64
WAYS = {"at once": (0, False), "chunk 8": (8, False), "checkpointing": (0, True), "both": (8, True)}


def towers() -> nn.Module:
    torch.manual_seed(0)
    inside = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2, "num_hidden_layers": 6}
    text = inside | {"vocab_size": 100, "max_position_embeddings": WORDS, "eos_token_id": 99, "bos_token_id": 98}
    vision = inside | {"image_size": SIDE, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)).train()


def measure(chunk: int, checkpointing: bool) -> dict[str, float]:
    config = TrainConfig(backbone_learning_rate=1e-6, chunk=chunk, gradient_checkpointing=checkpointing, device="cpu")
    model = towers()
    prepare_towers(model, config)
    backbone = nn.Module()
    backbone.model = model
    method = Method(name="clip4clip", backbone=backbone, head=MeanPoolHead()).train()  # type: ignore[arg-type]
    ids_TL = torch.randint(0, 98, (PAIRS, WORDS))
    ids_TL[:, -1] = 99
    batch = (ids_TL, torch.randn(PAIRS, FRAMES, 3, SIDE, SIDE))

    def encode(part: SimpleNamespace) -> tuple[Texts, Videos]:
        texts_TD = model.get_text_features(input_ids=part.ids_TL, return_dict=True).pooler_output
        frames_ND = model.get_image_features(pixel_values=part.pixels.flatten(0, 1), return_dict=True).pooler_output
        frames_VFD = frames_ND.unflatten(0, (-1, FRAMES))
        return Texts(texts_TD), Videos(frames_VFD, torch.ones(frames_VFD.shape[:2], dtype=torch.bool))

    def part(start: int, end: int) -> SimpleNamespace:
        return SimpleNamespace(ids_TL=batch[0][start:end], pixels=batch[1][start:end], relevance_TV=None)

    def check(parts: dict[str, torch.Tensor]) -> dict[str, float]:
        return {name: float(value.detach()) for name, value in parts.items()}

    def seed(*number: int) -> None:
        seed_all(0, *number)

    fabric, step = make_fabric(config), Step(method, objective(LossConfig()), encode=encode)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    if chunk:
        parts = [part(at, at + chunk) for at in range(0, PAIRS, chunk)]
        values = backward_in_parts(fabric, step, part(0, PAIRS), parts, seed=seed, check=check)
    else:
        values = backward_at_once(fabric, fabric.setup(step), part(0, PAIRS), seed=seed, check=check)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"peak_mb": round(peak / 1024), "seconds": time.perf_counter() - start, "loss": values["total"]}


def main() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    found = {}
    for name in WAYS:
        said = subprocess.run([sys.executable, __file__, name], env=environment, check=True, capture_output=True)
        found[name] = json.loads(said.stdout.splitlines()[-1])
        ratio = found["at once"]["peak_mb"] / found[name]["peak_mb"]
        print(f"{name:<14} {found[name]['peak_mb']:>6} MB  {ratio:4.1f} x less  {found[name]['seconds']:5.1f} s")
    machine = {"date": date.today().isoformat(), "processor": platform.processor(), "torch": torch.__version__}
    RESULTS.write_text(
        json.dumps({"machine": machine, "pairs": PAIRS, "frames": FRAMES, "ways": found}, indent=1) + "\n"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(*WAYS[sys.argv[1]])))
    else:
        main()
