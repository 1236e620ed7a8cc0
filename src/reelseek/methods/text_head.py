"""A small trained map of the text side over a finished method: what `reelseek adapt` learns, and its folder on disk.

It moves query vectors alone, so that the videos' vectors in an index stay valid and nothing is embedded again. The
folder holds the map and the name of the method it belongs to, not that method's weights.
Shapes: T texts, D width, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from reelseek.checkpoint import kind_of, load_run, save_run
from reelseek.errors import CheckpointError
from reelseek.records import Texts

if TYPE_CHECKING:
    from reelseek.methods.method import Method

KIND = "reelseek-text-head"


class TextHead(nn.Module):
    """t' = (t + B A t) at the length of t, for the sentence vector and those of streams; token vectors stay.

    A residual map of low rank as in LoRA (Hu et al. 2022, arXiv 2106.09685): A starts random, B at zero, so that an
    untrained head changes no bit of a text. The length stays because some heads weigh frames by plain products.
    width: D. rank: R, at least 1.
    """

    def __init__(self, width: int, rank: int, *, seed: int = 0) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1, not {rank}.")
        start_RD = torch.randn(rank, width, generator=torch.Generator().manual_seed(seed)) / math.sqrt(width)
        self.down_RD = nn.Parameter(start_RD)
        self.up_DR = nn.Parameter(torch.zeros(width, rank))

    def forward(self, texts: Texts) -> Texts:
        """Projected texts, moved."""
        streams = texts.streams and {name: self(stream) for name, stream in texts.streams.items()}
        return texts._replace(pooled_TD=self.moved(texts.pooled_TD), streams=streams)

    def moved(self, texts_TD: Tensor) -> Tensor:
        """Sentence vectors [T, D], each at its old length."""
        moved_TD = texts_TD + texts_TD @ self.down_RD.T @ self.up_DR.T
        lengths_T1, moved_T1 = (x.norm(dim=-1, keepdim=True).clamp_min(1e-12) for x in (texts_TD, moved_TD))
        scaled_TD: Tensor = moved_TD * (lengths_T1 / moved_T1)
        return scaled_TD


def head_of(tensors: Mapping[str, Tensor]) -> TextHead:
    """The head with these weights. Raises ValueError for others."""
    down_RD, up_DR = tensors.get("down_RD"), tensors.get("up_DR")
    fits = down_RD is not None and up_DR is not None and down_RD.ndim == 2 and up_DR.shape == down_RD.T.shape
    if not fits or set(tensors) != {"down_RD", "up_DR"} or not all(map(_usable, tensors.values())):
        raise ValueError(f"its weights are not those of a text head ({', '.join(sorted(tensors)) or 'none'})")
    assert down_RD is not None
    head = TextHead(down_RD.shape[1], down_RD.shape[0])
    head.load_state_dict(dict(tensors))
    return head


def _usable(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and bool(torch.isfinite(tensor).all()) and tensor.numel() > 0


def save_head(folder: Path, head: TextHead, *, base: str, base_id: str, trained_on: str, report: Any) -> None:
    """Write a head, whole or not at all. base, base_id: name and id of the method that it belongs to, without a head.

    trained_on: in words. report: plain values kept as provenance. Raises CheckpointError where it cannot be written.
    """
    config = {"kind": KIND, "base": base, "base_id": base_id, "trained_on": trained_on, "report": report}
    save_run(folder, config, {key: value.detach() for key, value in head.state_dict().items()})


def is_head(folder: Path) -> bool:
    """Whether a folder was written by `save_head`."""
    return kind_of(folder) == KIND


def base_of(name: str) -> str:
    """The name of the model below a head's folder; any other name as it is. CheckpointError: a damaged head."""
    return str(load_run(Path(name))[0]["base"]) if is_head(Path(name)) else name


def load_head(folder: Path, load_base: Callable[[str], Method], *, base: str = "") -> Method:
    """The method of a head's folder: the one below, loaded by name, with the head on. base: where it is found now.

    Raises CheckpointError for a folder that is damaged, and for another method than the head was trained over.
    """
    config, tensors = load_run(folder)
    named, wanted, trained_on = (config.get(key) for key in ("base", "base_id", "trained_on"))
    if config.get("kind") != KIND or not all(isinstance(word, str) for word in (named, wanted, trained_on)):
        raise CheckpointError(f"{folder}: it is no text head that this version knows.")
    try:
        head = head_of(tensors)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}.") from None
    method = load_base(base or str(named))
    if method.text_head is not None or method.id != wanted:
        raise CheckpointError(
            f"{folder}: it was trained over another method ({wanted}) than {base or named} is now ({method.id})."
        )
    method.text_head = head.to(method.log_scale.device)
    method.trained_on = str(trained_on)
    return method.eval()
