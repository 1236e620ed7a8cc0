"""Training end to end: batches of decoded frames and captions, through the towers, with gradients.

Every process decodes and encodes its own share of a batch; the loop gathers the shares.
Shapes: T texts, V videos, F frames, N real frames of a batch, D width, 3 S S encoder input; T = V in a batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from reelseek.config import RunConfig
from reelseek.data.clips import ClipDataset, collate
from reelseek.data.pairs import Pairs
from reelseek.errors import ConfigError
from reelseek.methods.method import Method
from reelseek.recipes.decoding import decoders, read_ahead
from reelseek.recipes.relevance import batch_relevance, rivals_of
from reelseek.recipes.towers import prepare_towers
from reelseek.records import Texts, Videos
from reelseek.training.batches import LEAST, batch_numbers, count_batches
from reelseek.video.transform import normalised


class FrameBatch(NamedTuple):
    """This process's captions and uint8 frames, and which texts match which videos in the whole batch (bool [T, V])."""

    captions: tuple[str, ...]
    pixels_VF3SS: Tensor
    mask_VF: Tensor
    relevance_TV: Tensor


class Clips:
    """The batches of a split for end-to-end training, and what turns one into tower outputs.

    A file that cannot be decoded is told once to `say` and leaves its batch smaller. Raises ConfigError for towers that
    cannot be trained.
    """

    def __init__(self, method: Method, pairs: Pairs, config: RunConfig, say: Callable[[str], None]) -> None:
        if not hasattr(method.backbone, "forward_frames"):
            raise ConfigError(
                f"the towers of {method.backbone.name!r} stay frozen: set train.backbone_learning_rate to 0, "
                "or train a CLIP or SigLIP model, or towers of `reelseek towers`."
            )
        self.method = method
        self.towers = cast(Any, method.backbone)
        # What a processor is fastest with must not decide how towers train: `train.precision` does, on every start.
        self.towers.precision = "float32"
        prepare_towers(self.towers, config.train)
        self.pairs = pairs
        self.config = config
        self.say = say
        self.steps = count_batches(len(pairs.texts), config.train.batch_size)
        self.rivals = rivals_of(pairs) if config.train.batches == "contrasts" else None
        self._told: set[str] = set()

    def batches(self, epoch: int, start: int) -> Iterator[FrameBatch | None]:
        """This process's share of every batch of an epoch (from 1) behind the first `start`, none of which is decoded.

        The same order on all processes. None: too little of a batch could be decoded.
        """
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        size, seed = self.config.train.batch_size, self.config.train.seed
        rows = [
            part[rank * len(part) // world : (rank + 1) * len(part) // world].tolist()
            for part in batch_numbers(len(self.pairs.texts), size, seed=seed, epoch=epoch, rivals=self.rivals)
            if len(part) >= world
        ]
        dataset = ClipDataset(self.pairs, sample=self.config.sample, spec=self.towers.preprocess)
        clip_bytes = self.config.sample.frames * 3 * self.towers.preprocess.crop**2
        crew = decoders(self.config.train.workers, clip_bytes=clip_bytes, batch=-(-size // world))
        decoded = read_ahead(dataset, [text for part in rows[start:] for text in part], crew)
        for part in rows[start:]:
            clips = collate(list(islice(decoded, len(part))))
            for broken in clips.broken:
                if broken.reason not in self._told:
                    self._told.add(broken.reason)
                    self.say(f"set aside: {broken.reason}")
            shares = _of_all_processes(clips.texts)
            if min(map(len, shares)) == 0 or sum(map(len, shares)) < LEAST:
                yield None
                continue
            whole = np.array([text for share in shares for text in share])
            relevance_TV = batch_relevance(self.pairs, whole)
            yield FrameBatch(clips.captions, clips.pixels_VF3SS, clips.mask_VF, relevance_TV)

    def encode(self, batch: FrameBatch) -> tuple[Texts, Videos]:
        """Tower outputs of a share, with gradients; only real frames pass the image tower."""
        texts = self.method.forward_texts(batch.captions)
        pixels_N3SS = batch.pixels_VF3SS[batch.mask_VF].to(self.towers.device)
        features_ND = self.towers.forward_frames(normalised(pixels_N3SS, self.towers.preprocess))
        frames_VFD = features_ND.new_zeros(*batch.mask_VF.shape, features_ND.shape[-1])
        frames_VFD[batch.mask_VF] = features_ND
        return texts, Videos(frames_VFD, batch.mask_VF)

    def cut(self, batch: FrameBatch) -> list[FrameBatch]:
        """A share in parts of at most `train.chunk` examples; relevance stays that of the whole batch."""
        size = self.config.train.chunk
        return [
            FrameBatch(
                batch.captions[start : start + size],
                batch.pixels_VF3SS[start : start + size],
                batch.mask_VF[start : start + size],
                batch.relevance_TV,
            )
            for start in range(0, len(batch.captions), size)
        ]


def _of_all_processes(texts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Which texts every process holds, in the order of the processes: files break on one of them alone."""
    if not torch.distributed.is_initialized():
        return [texts]
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, texts)
    return shares
