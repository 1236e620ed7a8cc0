"""Cached contrastive gradients: a large batch through the towers in parts, with the gradients of the whole batch.

Gao et al. 2021, arXiv 2101.06983. First every part passes the towers without gradients; then the loss of the whole
batch gives gradients of the tower outputs; then every part passes the towers again, and its outputs' gradients flow
into their weights. Only one part's activations are in memory at a time. Random numbers are seeded by part, so that both
passes draw the same dropout.

Shapes: T texts, V videos, F frames, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import Parameter, functional

from reelseek.records import Texts, Videos
from reelseek.training.step import Check, Seed, Step

Outputs = tuple[Texts, Videos]


def backward_in_parts(
    fabric: Fabric, step: Step, batch: Any, parts: Sequence[Any], *, seed: Seed, check: Check
) -> dict[str, float]:
    """`backward_at_once` of a batch whose `parts` pass the towers one at a time; step is not wrapped."""
    assert step.encode is not None
    leaves: list[Outputs] = []
    for number, part in enumerate(parts, start=1):
        seed(number)
        with torch.no_grad(), fabric.autocast():
            outputs = step.encode(fabric.to_device(part))
        leaves.append(_like(outputs, [_leaf(tensor) for tensor in tensors_of(*outputs)]))
    seed()
    with fabric.autocast():
        found = step.losses(*join(leaves), fabric.to_device(batch.relevance_TV))
    values = check(found)
    fabric.backward(found["total"])
    for number, (part, kept) in enumerate(zip(parts, leaves, strict=True), start=1):
        seed(number)
        with fabric.autocast():
            outputs = step.encode(fabric.to_device(part))
        again = zip(tensors_of(*outputs), tensors_of(*kept), strict=True)
        pairs = [(new, old.grad) for new, old in again if new.requires_grad and old.grad is not None]
        torch.autograd.backward([new for new, _ in pairs], [gradient for _, gradient in pairs])
    if fabric.world_size > 1:
        average_gradients(step.parameters())
    return values


def average_gradients(parameters: Iterable[Parameter]) -> None:
    """Replace every gradient by its mean over processes, as a wrapped module's backward pass would have."""
    world = torch.distributed.get_world_size()
    for parameter in parameters:
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad.div_(world)


def tensors_of(texts: Texts, videos: Videos) -> list[Tensor]:
    """Every tensor of some tower outputs, in a fixed order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    texts.each(keep)
    videos.each(keep)
    return found


def join(parts: Sequence[Outputs]) -> Outputs:
    """Rows of all parts, one below the other; frames and tokens are padded to the most, with the mask False."""
    columns = zip(*(tensors_of(*part) for part in parts), strict=True)
    return _like(parts[0], [_stacked(column) for column in columns])


def _like(outputs: Outputs, tensors: Sequence[Tensor]) -> Outputs:
    """Outputs of the same structure, holding these tensors of `tensors_of`."""
    left = iter(tensors)
    texts = outputs[0].each(lambda _: next(left))
    return texts, outputs[1].each(lambda _: next(left))


def _leaf(tensor: Tensor) -> Tensor:
    leaf = tensor.detach()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


def _stacked(column: Sequence[Tensor]) -> Tensor:
    most = [max(sizes) for sizes in zip(*(tensor.shape for tensor in column), strict=True)]
    padded = []
    for tensor in column:
        missing = [(0, end - size) for size, end in zip(tensor.shape[1:], most[1:], strict=True)]
        padded.append(functional.pad(tensor, [amount for pair in reversed(missing) for amount in pair]))
    return torch.cat(padded)
