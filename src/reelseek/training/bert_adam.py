"""BertAdam: the optimiser that CLIP4Clip, GARE and their relatives were released with.

Not here: its schedule (`reelseek.training.optim.released_factor`), and which parameters decay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

CLIP_EACH = 1.0
"""Length above which the gradient of a single parameter is shortened."""


class BertAdam(torch.optim.Optimizer):
    """Adam as BERT's first PyTorch port has it: no bias correction, decay added to the update before the rate.

    Of every parameter p with gradient g: g is shortened to length `CLIP_EACH` (in addition to any clipping before);
    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p = p - lr (m / (sqrt(v) + eps) + weight_decay p).
    At rate 0 the moments move and the parameter does not.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, betas: tuple[float, float] = (0.9, 0.98), eps: float = 1e-6
    ) -> None:
        super().__init__(groups, {"betas": betas, "eps": eps, "lr": 1e-4, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient; gradients are left shortened."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        clip_grad_norm_(parameter, CLIP_EACH)
        gradient = parameter.grad
        assert gradient is not None
        first, second = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.mul_(first).add_(gradient, alpha=1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        update = mean / (square.sqrt() + group["eps"])
        if group["weight_decay"]:
            update.add_(parameter, alpha=group["weight_decay"])
        parameter.sub_(update, alpha=group["lr"])
