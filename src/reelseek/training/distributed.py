"""One batch over several processes: each embeds its share, all score the whole, and gradients stay exact.

Why no factor appears anywhere: with W processes every one computes the same loss L of the whole batch. The gather's
backward sums over processes, so what flows into a process's own share is W dL/dx. The wrapped module averages
parameter gradients over processes: for parameters before the gather, (1/W) sum over shares of (W dL/dx)(dx/dp) = dL/dp;
for parameters after it, every process holds dL/dp already and their mean is dL/dp. Both are those of one process on the
whole batch. (CLIP4Clip's gather returns the local slice without the sum, which shrinks the first kind by W.)

Dropout is drawn by each process for itself; the loss is then the mean over the processes' draws.
Shapes: T texts, V videos, F frames, L tokens, D width.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import cast
from uuid import uuid4

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor
from torch.nn import functional

from reelseek.config import TrainConfig
from reelseek.errors import CheckpointError, ConfigError
from reelseek.records import Texts, Videos
from reelseek.training.batches import Batch

Gather = Callable[[Tensor], Tensor]
"""A tensor of one shape on all processes -> those of all processes, stacked along a new first dimension."""

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: one embeds or validates while the others wait."""


def make_fabric(config: TrainConfig) -> Fabric:
    """The device and precision of a run, launched: one process, or those that torchrun started.

    "auto" takes a CUDA device where there is one, else the CPU; Apple's is taken when it is asked for. Raises
    ConfigError for a precision that the device does not have.
    """
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if config.precision == "16-mixed" and device != "cuda":
        # Fabric would take bfloat16 and no gradient scaling instead, under the other name.
        raise ConfigError(
            f"train.precision 16-mixed needs a CUDA device, and this run is on {device}: take bf16-mixed or 32-true."
        )
    world, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=max(1, world // local),
        strategy=DDPStrategy(timeout=PATIENCE) if world > 1 else "auto",
        precision=config.precision,
        # Left to itself it takes a batch job of Slurm for a start of as many processes as the job has tasks.
        plugins=[TorchElasticEnvironment() if world > 1 else LightningEnvironment()],
    )
    fabric.launch()
    if world > 1:
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    # Gloo's threads abort a process that ends without leaving its group, after all work is done: with five processes
    # one run of three ended so. At exit rather than after training, as a recipe goes on to evaluate in step.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def first_alone(fabric: Fabric, act: Callable[[], None]) -> None:
    """Do something on the first process; a CheckpointError there is raised on all, which would wait for it else."""
    refusal = None
    if fabric.is_global_zero:
        try:
            act()
        except CheckpointError as error:
            refusal = error
    refusal = fabric.broadcast(refusal)
    if refusal is not None:
        raise refusal


def refuse_own_folders(fabric: Fabric, folder: Path) -> None:
    """Raise CheckpointError on every process unless all see what the first one writes into the run folder.

    Processes with a folder each would start from different weights, and miss the best ones at the end.
    """
    if fabric.world_size == 1:
        return
    with suppress(OSError):  # a folder that cannot be made is one that the first process's file is not in
        folder.mkdir(parents=True, exist_ok=True)
    file = folder / fabric.broadcast(f".{uuid4().hex}")
    if fabric.is_global_zero:
        file.touch()
    fabric.barrier()
    seen = cast(Tensor, fabric.all_gather(torch.tensor(int(file.exists()))))
    if fabric.is_global_zero:
        file.unlink()
    if not seen.all():
        raise CheckpointError(
            f"{folder}: {int((seen == 0).sum())} of {fabric.world_size} processes do not see what the first one writes "
            "there. --out must be one folder that all machines see."
        )


def gather_of(fabric: Fabric) -> Gather | None:
    """The gather with gradient over a run's processes; None for a single one."""
    if fabric.world_size == 1:
        return None
    return lambda tensor: cast(Tensor, fabric.all_gather(tensor, sync_grads=True))


def share(batch: Batch, rank: int, world: int) -> Batch:
    """One process's consecutive part of the texts and of the videos; relevance stays that of the whole batch."""
    return Batch(
        _texts_part(batch.texts, rank, world),
        Videos(_part(batch.videos.frames_VFD, rank, world), _part(batch.videos.mask_VF, rank, world)),
        batch.relevance_TV,
    )


def gather_texts(texts: Texts, gather: Gather) -> Texts:
    """The texts of all processes in their order; token rows are padded to the longest, with the mask False."""
    return Texts(
        gather_rows(texts.pooled_TD, gather),
        None if texts.tokens_TLD is None else gather_rows(texts.tokens_TLD, gather),
        None if texts.mask_TL is None else gather_rows(texts.mask_TL, gather),
        texts.streams and {name: gather_texts(stream, gather) for name, stream in sorted(texts.streams.items())},
    )


def gather_videos(videos: Videos, gather: Gather) -> Videos:
    """The videos of all processes in their order; frames are padded to the most, with the mask False."""
    return Videos(gather_rows(videos.frames_VFD, gather), gather_rows(videos.mask_VF, gather))


def gather_rows(tensor: Tensor, gather: Gather) -> Tensor:
    """Rows of all processes, one below the other, with gradient; the processes' sizes may differ in any dimension."""
    sizes = gather(torch.tensor(tensor.shape, device=tensor.device))
    most = sizes.amax(dim=0).tolist()
    missing = [
        amount for size, end in zip(reversed(tensor.shape), reversed(most), strict=True) for amount in (0, end - size)
    ]
    values = tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor
    stacked = gather(functional.pad(values, missing))
    rows = torch.cat([part[:count] for part, count in zip(stacked, sizes[:, 0].tolist(), strict=True)])
    return rows.bool() if tensor.dtype == torch.bool else rows


def _texts_part(texts: Texts, rank: int, world: int) -> Texts:
    return Texts(
        _part(texts.pooled_TD, rank, world),
        None if texts.tokens_TLD is None else _part(texts.tokens_TLD, rank, world),
        None if texts.mask_TL is None else _part(texts.mask_TL, rank, world),
        texts.streams and {name: _texts_part(stream, rank, world) for name, stream in texts.streams.items()},
    )


def _part(tensor: Tensor, rank: int, world: int) -> Tensor:
    return tensor[rank * len(tensor) // world : (rank + 1) * len(tensor) // world]
