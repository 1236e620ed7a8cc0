"""A small method, objective and data set for the tests of the training loop; also imported by their subprocesses."""

from __future__ import annotations

import json

import torch
from torch import nn
from torch.nn import functional

from reelseek.config import TrainConfig
from reelseek.records import Scores, Texts, Videos
from reelseek.training.batches import Batch, batch_numbers, count_batches
from reelseek.training.log import NAME

CONFIG = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01, weight_decay=0.01, device="cpu", seed=7)


class Toy(nn.Module):
    """Linear projections and a norm before the scores, a linear layer with dropout inside them."""

    def __init__(self, dropout=0.0, seed=0, scale=20.0):
        super().__init__()
        torch.manual_seed(seed)
        self.texts, self.frames = nn.Linear(6, 16), nn.Linear(5, 16)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Sequential(nn.Linear(16, 16), nn.Dropout(dropout))
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    @property
    def logit_scale(self):
        return self.log_scale.exp()

    def project(self, texts, videos):
        frames = self.norm(self.frames(videos.frames_VFD))
        return texts._replace(pooled_TD=self.texts(texts.pooled_TD)), videos._replace(frames_VFD=frames)

    def score(self, texts, videos):
        weights = videos.mask_VF.unsqueeze(-1).float()
        mean = (self.head(videos.frames_VFD) * weights).sum(1) / weights.sum(1)
        return Scores(functional.normalize(texts.pooled_TD, dim=-1) @ functional.normalize(mean, dim=-1).T)


def objective(scores, logit_scale, relevance_TV=None):
    logits = scores.matrix_TV * logit_scale
    right = torch.eye(len(logits), dtype=torch.bool) if relevance_TV is None else relevance_TV
    forth = logits.logsumexp(1) - logits.masked_fill(~right, -torch.inf).logsumexp(1)
    contrast, size = forth.mean(), 0.01 * logits.square().mean()
    return {"total": contrast + size, "contrast": contrast, "size": size}


def dataset(count=20, frames=3, seed=1):
    """Texts and videos that share a hidden code, with frames of which some are padding."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(count, 4, generator=generator)
    texts = codes @ torch.randn(4, 6, generator=generator)
    frames_VFD = (codes @ torch.randn(4, 5, generator=generator))[:, None].repeat(1, frames, 1)
    frames_VFD += 0.05 * torch.randn(count, frames, 5, generator=generator)
    mask_VF = torch.arange(frames) < torch.randint(1, frames + 1, (count, 1), generator=generator)
    return Texts(texts), Videos(frames_VFD * mask_VF[..., None], mask_VF)


def batches_of(texts, videos, config=CONFIG):
    def batches(epoch, start):
        for numbers in batch_numbers(len(texts.pooled_TD), config.batch_size, seed=config.seed, epoch=epoch)[start:]:
            yield Batch(Texts(texts.pooled_TD[numbers]), Videos(videos.frames_VFD[numbers], videos.mask_VF[numbers]))

    return batches, count_batches(len(texts.pooled_TD), config.batch_size)


def recall(method, texts, videos):
    matrix = method.score(*method.project(texts, videos)).matrix_TV
    return 100 * float((matrix.argmax(1) == torch.arange(len(matrix))).float().mean())


def read_log(folder):
    """The records of a run so far, without a last line that is still being written."""
    with open(folder / NAME, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]
