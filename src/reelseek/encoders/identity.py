"""What towers are called in caches and indexes: a word that follows from what they compute."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def add_weights(digest: hashlib.blake2b, weights: Mapping[str, Tensor]) -> None:
    """Names and values of weights into a digest, whatever order they come in."""
    for key, value in sorted(weights.items()):
        digest.update(key.encode())
        # As bytes, because NumPy knows no bfloat16.
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)


class Identity:
    """Kind and sixteen hexadecimal digits over settings and the weights now: equal towers, equal words.

    kind: what the word begins with. settings: everything beside the weights that vectors depend on, as text.
    """

    def __init__(self, kind: str, settings: str) -> None:
        self.kind = kind
        self.settings = settings
        self._known: tuple[object, str] = (None, "")

    def of(self, towers: nn.Module) -> str:
        """The word for these weights. Hashing takes about a second a gigabyte, and is repeated only after a weight was
        written to.
        """
        state = towers.state_dict()
        version = tuple((value.data_ptr(), value._version) for value in state.values())
        if self._known[0] != version:
            digest = hashlib.blake2b(self.settings.encode(), digest_size=8)
            add_weights(digest, state)
            self._known = (version, f"{self.kind}-{digest.hexdigest()}")
        return self._known[1]
