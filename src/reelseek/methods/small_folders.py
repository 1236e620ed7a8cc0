"""Folders of small towers: sizes, vocabulary and weights, whole or not at all.

Not here: the towers (`reelseek.encoders.small`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from reelseek.checkpoint import kind_of, load_run, save_run
from reelseek.encoders.sizes import Sizes, check_sizes
from reelseek.encoders.small import SmallBackbone, learn_pieces
from reelseek.errors import CheckpointError, ConfigError

KIND = "reelseek-towers"
VOCABULARY = "tokenizer.json"


def make_small(captions: Sequence[str], sizes: Sizes, *, seed: int = 0) -> SmallBackbone:
    """Towers with random weights and a vocabulary of these captions; equal arguments give equal towers.

    Raises ConfigError for sizes that do not fit together.
    """
    check_sizes(sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallBackbone(sizes, learn_pieces(captions, sizes)).eval()


def save_small(towers: SmallBackbone, folder: Path) -> None:
    """Write towers; older ones in the folder are replaced. Raises CheckpointError where it cannot be written."""
    config = {"kind": KIND, "sizes": towers.sizes._asdict()}
    save_run(folder, config, towers.state_dict(), extra={VOCABULARY: towers.tokenizer.to_str()})


def is_small(folder: Path) -> bool:
    """Whether a folder was written by `save_small`."""
    return kind_of(folder) == KIND


def load_small(folder: Path) -> SmallBackbone:
    """The towers of a folder. Raises CheckpointError for one that is damaged."""
    config, tensors = load_run(folder)
    try:
        sizes = Sizes(**config["sizes"])
        towers = SmallBackbone(sizes, _tokenizer(folder / VOCABULARY))
        towers.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, ConfigError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{folder}: these are no towers that this version knows ({reason}).") from None
    return towers.eval()


def _tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:
        # A bare Exception is what the tokenizers package raises for damaged files: it has no class of its own.
        if type(error) is Exception or isinstance(error, OSError | ValueError):
            raise CheckpointError(f"{path}: the vocabulary is gone or damaged ({error}).") from None
        raise
