"""One training step without the update: from a batch to the objective's parts and their gradients.

Not here: a batch that passes the towers in parts (`reelseek.training.cached`). Shapes: T texts, V videos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from lightning_fabric import Fabric
from torch import Tensor, nn

from reelseek.records import Method, Scores, Texts, Videos
from reelseek.training.distributed import Gather, gather_texts, gather_videos

Objective = Callable[[Scores, Tensor, Tensor | None], Mapping[str, Tensor]]
"""(scores, logit_scale, relevance_TV) -> scalar loss parts, with their sum under "total"."""

Encode = Callable[[Any], tuple[Texts, Videos]]
"""What turns a batch into this process's share of tower outputs, with gradients, when the towers are trained too."""

Cut = Callable[[Any], Sequence[Any]]
"""What cuts such a batch into parts that `Encode` takes too, in order."""

Seed = Callable[..., None]
"""Seeds all random generators for the step, or with a number for one part of it."""

Check = Callable[[Mapping[str, Tensor]], dict[str, float]]
"""The objective's parts as numbers; raises where they are not finite."""


class Step(nn.Module):
    """From a batch to its loss. Gather and score happen inside `forward`, so a wrapper sees every parameter used."""

    def __init__(
        self, method: nn.Module, objective: Objective, *, encode: Encode | None = None, gather: Gather | None = None
    ) -> None:
        super().__init__()
        self.method = method
        self.objective = objective
        self.encode = encode
        self.gather = gather

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The objective's parts on the whole batch; batch holds this process's share, and the whole relevance_TV."""
        texts, videos = (batch.texts, batch.videos) if self.encode is None else self.encode(batch)
        return self.losses(texts, videos, batch.relevance_TV)

    def losses(self, texts: Texts, videos: Videos, relevance_TV: Tensor | None) -> dict[str, Tensor]:
        """The same from this process's tower outputs."""
        method = cast(Method, self.method)
        texts, videos = method.project(texts, videos)
        if self.gather is not None:
            texts, videos = gather_texts(texts, self.gather), gather_videos(videos, self.gather)
        scores = method.score(texts, videos)
        return dict(self.objective(scores, cast(Tensor, self.method.logit_scale), relevance_TV))


def backward_at_once(fabric: Fabric, module: Any, batch: Any, *, seed: Seed, check: Check) -> dict[str, float]:
    """The numbers of a whole batch, with the gradients of all parameters; module is the wrapped `Step`."""
    seed()
    parts = module(fabric.to_device(batch))
    values = check(parts)
    fabric.backward(parts["total"])
    return values
