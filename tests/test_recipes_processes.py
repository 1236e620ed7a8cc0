"""Two processes over frozen towers: the first makes and embeds, the other reads; the run is that of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recipe_miniatures import small, write_benchmark
from reelseek.embed import embed_pairs
from reelseek.errors import CheckpointError
from reelseek.recipes import run as module
from test_encoders_clip import tiny_folder


def work(folder: Path, world: int) -> None:
    """Train over the tiny towers, frozen, and tell what this process had to encode."""
    config = small("gare-msrvtt", folder / "data", folder / "clip")
    config = replace(config, train=replace(config.train, backbone_learning_rate=0.0, epochs=2, batch_size=4))
    config = replace(config, method=replace(config.method, dropout=0.0))
    told = []

    def counting(method, *arguments, **options):
        decoded = [0]
        encode = type(method).frames_in_torch

        def frames_in_torch(pixels):
            decoded[0] += len(pixels)
            return encode(method, pixels)

        method.frames_in_torch = frames_in_torch
        found = embed_pairs(method, *arguments, **options)
        del method.frames_in_torch
        told.append(decoded[0])
        return found

    module.embed_pairs = counting
    try:
        module.train(config, folder / f"run{world}", cache=folder / f"cache{world}")
        if world == 2:
            other = replace(config, sample=replace(config.sample, frames=1))
            with pytest.raises(CheckpointError, match=r"other settings: sample\.frames"):  # told to all processes
                module.train(other, folder / "run2", cache=folder / "none")
            # as on two machines that share no disk, and before anything is embedded
            with pytest.raises(CheckpointError, match="--out must be one folder that all machines see"):
                module.train(config, folder / f"apart{os.environ['RANK']}", cache=folder / "none")
    finally:
        module.embed_pairs = embed_pairs
    (folder / f"told{world}-{os.environ.get('RANK', 0)}").write_text(json.dumps(told))


def test_the_first_process_embeds_for_all(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "clip", "clip", width=64)
    write_benchmark("msrvtt", tmp_path / "data", tmp_path / "clips")
    (tmp_path / "main.py").write_text(
        f"import pathlib, sys, test_recipes_processes as test\n"
        f"test.work(pathlib.Path({str(tmp_path)!r}), int(sys.argv[1]))\n"
    )
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    # one thread in all of them: Adam makes a step of a rounding error where a gradient is next to nothing
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    both = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for words, world in ((both, "2"), ([], "1")):
        command = [sys.executable, *words, str(tmp_path / "main.py"), world]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stderr[-3000:]
    first, second, alone = (json.loads((tmp_path / f"told{name}").read_text()) for name in ("2-0", "2-1", "1-0"))
    assert first == alone
    assert first[0] > 0
    assert second == [0, 0]
    assert not (tmp_path / "none").exists()
    one, two = (load_file(tmp_path / f"run{world}" / "best.safetensors") for world in (1, 2))
    for name, value in one.items():
        assert torch.allclose(two[name], value, rtol=1e-3, atol=1e-5), name
