"""How large small towers are (`reelseek.encoders.small`): numbers alone, so that a command's help needs no torch."""

from __future__ import annotations

from typing import NamedTuple

from reelseek.errors import ConfigError

HEAD_WIDTH = 64
"""Of an attention head of the text tower."""


class Sizes(NamedTuple):
    """How large the towers are.

    side: pixels of the square that a frame is resized and cut to.
    patch: pixels of the side of a patch, a part of the square's.
    channels: channels of the convolutions over patches.
    blocks: convolutions of 3 x 3 patches.
    width: width of the text tower and the joint space, a multiple of 64.
    layers: layers of the text tower.
    pieces: most pieces of words in the vocabulary, which is learnt from the training captions.
    tokens: most tokens that are read of a text.
    """

    side: int = 64
    patch: int = 8
    channels: int = 64
    blocks: int = 2
    width: int = 128
    layers: int = 2
    pieces: int = 4096
    tokens: int = 77


def check_sizes(sizes: Sizes) -> None:
    """Raises ConfigError for sizes that no towers can have."""
    least = Sizes(**dict.fromkeys(Sizes._fields, 1))._replace(pieces=257, tokens=2)
    for name, value, bound in zip(Sizes._fields, sizes, least, strict=True):
        if value < bound:
            raise ConfigError(f"{name} must be at least {bound}, not {value}.")
    if sizes.side % sizes.patch:
        raise ConfigError(f"patches of {sizes.patch} pixels do not divide a side of {sizes.side}.")
    if sizes.width % HEAD_WIDTH:
        raise ConfigError(f"the width must be a multiple of {HEAD_WIDTH}, an attention head's, not {sizes.width}.")
