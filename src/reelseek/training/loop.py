"""The training loop: one step, one epoch, one validation, one saved state, all in sight.

It knows no data set, no loss and no method by name: batches, objective and validation come in as callables, so the
test set cannot reach it unless a caller hands it in as validation. Epochs and steps count from 1 in everything that
is written or returned. Shapes: T texts, V videos.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from reelseek.config import TrainConfig
from reelseek.errors import TrainingError
from reelseek.training.batches import LEAST, Batch
from reelseek.training.cached import backward_in_parts
from reelseek.training.distributed import gather_of, make_fabric, refuse_own_folders, share
from reelseek.training.interrupt import interrupt_held
from reelseek.training.log import RunLog
from reelseek.training.optim import clamp_scale, freeze_towers, make_optimizer, rate_at, set_rates
from reelseek.training.state import BEST, STATE, Position, load_state, load_weights, save_best, save_state, settle_best
from reelseek.training.step import Cut, Encode, Objective, Step, backward_at_once

LOWER_IS_BETTER = frozenset(["MdR", "MnR"])
PLACES = frozenset(["device", "chunk", "workers", "gradient_checkpointing"])
"""Settings that may change between two starts of a run: where it is computed, and in how much memory."""

OVERFLOWS = 25
"""So many gradients in a row that are not finite are no fault of the gradient scaler, which starts at 2^16 and halves
its scale at each of them.
"""


Batches = Callable[[int, int], Iterable[Any]]
"""From an epoch (from 1) and a number to the epoch's batches behind so many: a run that goes on makes none twice.

They depend on the epoch alone. None stands for one that cannot be used, so that the numbers hold.
"""


class FitResult(NamedTuple):
    """What a run came to. The method holds the weights of best_epoch when `fit` returns.

    history: one mapping an epoch, with "epoch", "step" and the validation's values (empty without validation).
    best_value: the selected value at best_epoch, None without validation. seconds: over all starts of the run.
    resumed_at: the step that this call went on from; 0 for a fresh run.
    """

    best_epoch: int
    best_value: float | None
    history: list[dict[str, float]]
    steps: int
    seconds: float
    resumed_at: int


def fit(
    method: nn.Module,
    batches: Batches,
    objective: Objective,
    *,
    config: TrainConfig,
    steps_per_epoch: int,
    folder: Path | str,
    validate: Callable[[], Mapping[str, float]] | None = None,
    encode: Encode | None = None,
    cut: Cut | None = None,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
    save_seconds: float = 300.0,
) -> FitResult:
    """Train a method, or go on with the run that `folder` holds, to the same weights as without the stop.

    method: an `nn.Module` with project, score, logit_scale and log_scale; a `backbone` inside it is frozen where
        config.backbone_learning_rate is 0. It is left with the best epoch's weights, in evaluation mode.
    batches: see `Batches`. Without `encode` they are `Batch`, the same on every process, and each takes its share;
        batches of fewer than two texts or videos (or than processes) are passed over. With `encode` they may be
        anything with a relevance_TV of the whole batch.
    steps_per_epoch: how many batches come, for the learning rate; fewer may come, more raise ValueError.
    validate: called after every epoch on the method in evaluation mode, without gradients, on the first process.
        The epoch that is best by config.select is kept (the earliest of equals); without it, the last epoch.
    cut: with `encode`, cuts a batch so that one part at a time passes the towers (see `reelseek.training.cached`).
    progress: called with every record that log.jsonl gets. save_seconds: time between saved states inside an epoch.

    Files: state.safetensors (last weights, moments, position), best.safetensors, log.jsonl, tensorboard/.
    Ctrl-C ends the step, saves the state and raises KeyboardInterrupt.
    Raises TrainingError for a loss or gradient that is not finite (under 16-mixed for `OVERFLOWS` such gradients in a
    row), CheckpointError for a folder that holds another run, or that not all processes see, ValueError for wrong
    settings.
    """
    _check(config, steps_per_epoch)
    if cut is not None and encode is None:
        raise ValueError("cut is for batches that pass towers: give encode too")
    folder = Path(folder)
    fabric = make_fabric(config)
    refuse_own_folders(fabric, folder)
    freeze_towers(method, config)
    method.to(fabric.device)
    clamp_scale(method, config.max_logit_scale)
    optimizer = make_optimizer(method, config)
    step = Step(method, objective, encode=encode, gather=gather_of(fabric))
    module, wrapped_optimizer = fabric.setup(step, optimizer)
    run = _Run(fabric, method, step, module, optimizer, wrapped_optimizer, config, steps_per_epoch, folder, cut)
    position = run.resume()
    resumed_at = position.step
    fabric.barrier()
    log = RunLog(folder, lines=position.log_lines, step=position.step) if fabric.is_global_zero else None
    try:
        run.train(batches, log, validate, progress, save_seconds)
    finally:
        if log is not None:
            log.close()
        method.eval()
    fabric.barrier()
    load_weights(folder / BEST, method)
    return FitResult(
        position.best_epoch, position.best_value, position.history, position.step, position.seconds, resumed_at
    )


def seed_all(*numbers: int) -> None:
    """Seed Python's, NumPy's and torch's random generators from a few numbers."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@dataclass
class _Run:
    """The pieces of one run, and where it stands."""

    fabric: Fabric
    method: nn.Module
    unwrapped: Step
    module: Any
    optimizer: torch.optim.Optimizer
    wrapped_optimizer: Any
    config: TrainConfig
    steps_per_epoch: int
    folder: Path
    cut: Cut | None

    def __post_init__(self) -> None:
        self.position = Position()
        self.updating = False
        self.skipped = 0
        self.scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        # What decides the weights: another device or less memory may round otherwise, but it is the same run.
        settings = {name: value for name, value in asdict(self.config).items() if name not in PLACES}
        settings |= {"steps_per_epoch": self.steps_per_epoch}
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))

    def resume(self) -> Position:
        """Take up the state in the folder, if there is one."""
        path = self.folder / STATE
        if path.exists():
            self.position = load_state(path, self.method, self.optimizer, self.settings)
            # A run that began without scaling has nothing of it to take up.
            if self.scaler is not None and self.position.scaler:
                self.scaler.load_state_dict(self.position.scaler)
        if self.fabric.is_global_zero:
            settle_best(self.folder, self.position.best_epoch)
        return self.position

    def train(
        self,
        batches: Batches,
        log: RunLog | None,
        validate: Callable[[], Mapping[str, float]] | None,
        progress: Callable[[Mapping[str, Any]], None] | None,
        save_seconds: float,
    ) -> None:
        """All epochs that are left; a KeyboardInterrupt leaves the state of the last whole step behind."""
        position, saved_at = self.position, time.monotonic()
        report = progress if progress is not None and log is not None else lambda record: None
        try:
            while position.epoch < self.config.epochs:
                self._training_mode()
                epoch = position.epoch + 1
                usable = self._usable(batches(epoch, position.drawn))
                for number, batch in enumerate(usable, position.drawn + 1):
                    if batch is None:
                        continue
                    with interrupt_held():
                        record = self.step(batch, number)
                        if log is not None:
                            log.write(record)
                    report(record)
                    if time.monotonic() - saved_at >= save_seconds:
                        self.save(log)
                        saved_at = time.monotonic()
                if position.batch == 0:
                    raise ValueError(f"epoch {epoch} gave no batch of at least {LEAST} texts and videos")
                values = self.validation(validate)
                with interrupt_held():
                    record = {"kind": "validation", "step": position.step, "epoch": epoch, **values}
                    if log is not None and values:
                        log.write(record)
                    self.close_epoch(epoch, values)
                    self.save(log)
                    saved_at = time.monotonic()
                if values:
                    report(record)
        except KeyboardInterrupt:
            # A second Ctrl-C may have cut an update, or the end of an epoch, in half; the last saved state is then the
            # one to go on from.
            if not self.updating:
                self.save(log)
            raise

    def step(self, batch: Any, drawn: int) -> dict[str, Any]:
        """One update of the weights, by the epoch's batch of number `drawn`; what the log says about it."""
        position, config, fabric = self.position, self.config, self.fabric
        start = time.perf_counter()
        if position.batch == self.steps_per_epoch:
            raise ValueError(f"epoch {position.epoch + 1} gave more than the stated {self.steps_per_epoch} batches")
        place = position.epoch * self.steps_per_epoch + position.batch
        number = position.step + 1
        factor = rate_at(place, self.steps_per_epoch, config)
        set_rates(self.optimizer, factor)
        values = self.backward(batch, number)
        norm = fabric.clip_gradients(
            self.module, self.wrapped_optimizer, max_norm=config.clip_norm or math.inf, error_if_nonfinite=False
        )
        grad_norm = float(cast(Tensor, norm))
        self.skipped = 0 if math.isfinite(grad_norm) else self.skipped + 1
        # With a gradient scaler an overflow is expected now and then: it skips the update and scales less.
        if self.skipped >= (1 if self.scaler is None else OVERFLOWS):
            raise TrainingError(_not_finite("gradient", number, position.epoch + 1, values))
        self.updating = True
        self.wrapped_optimizer.step()
        self.wrapped_optimizer.zero_grad()
        clamp_scale(self.method, config.max_logit_scale)
        seconds = time.perf_counter() - start
        position.step, position.batch, position.drawn = number, position.batch + 1, drawn
        position.seconds += seconds
        self.updating = False
        return {
            "kind": "step",
            "step": number,
            "epoch": position.epoch + 1,
            "lr": config.learning_rate * factor,
            "logit_scale": float(cast(Tensor, self.method.logit_scale).detach()),
            "grad_norm": grad_norm if math.isfinite(grad_norm) else None,
            "seconds": seconds,
            **{f"loss/{name}": value for name, value in values.items()},
        }

    def backward(self, batch: Any, number: int) -> dict[str, float]:
        """The objective's values at a step, with their gradients in place; TrainingError where they are not finite."""

        def seed(*part: int) -> None:
            seed_all(self.config.seed, number, self.fabric.global_rank, *part)

        def check(parts: Mapping[str, Tensor]) -> dict[str, float]:
            values = {name: float(part.detach()) for name, part in parts.items()}
            if not math.isfinite(values["total"]):
                raise TrainingError(_not_finite("loss", number, self.position.epoch + 1, values))
            return values

        if self.cut is None:
            return backward_at_once(self.fabric, self.module, batch, seed=seed, check=check)
        return backward_in_parts(self.fabric, self.unwrapped, batch, self.cut(batch), seed=seed, check=check)

    def validation(self, validate: Callable[[], Mapping[str, float]] | None) -> dict[str, float]:
        """The first process's values, on all; ValueError when config.select is not among them or not a number."""
        if validate is None:
            return {}
        start = time.perf_counter()
        values: dict[str, float] = {}
        if self.fabric.is_global_zero:
            self.method.eval()
            with torch.no_grad():
                values = {name: float(value) for name, value in validate().items()}
        values = self.fabric.broadcast(values)
        if math.isnan(values.get(self.config.select, math.nan)):
            raise ValueError(
                f"validation gave no number for {self.config.select!r}, by which the best epoch is chosen: {values}"
            )
        self.position.seconds += time.perf_counter() - start
        return values

    def close_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Move on to the next epoch, and keep this one's weights if they are the best so far."""
        position = self.position
        value = values.get(self.config.select)
        self.updating = True
        if value is None or position.best_value is None or self._better(value, position.best_value):
            if self.fabric.is_global_zero:
                save_best(self.folder, self.method, epoch)
            position.best_epoch, position.best_value = epoch, value
        if values:
            position.history.append({"epoch": epoch, "step": position.step, **values})
        position.epoch, position.batch, position.drawn = epoch, 0, 0
        self.updating = False

    def save(self, log: RunLog | None) -> None:
        """Replace the state on disk; the first process does it, which is the one with a log."""
        if log is None:
            return
        log.sync()
        self.position.log_lines = log.lines
        self.position.scaler = {} if self.scaler is None else self.scaler.state_dict()
        save_state(self.folder / STATE, self.method, self.optimizer, self.position, self.settings)
        settle_best(self.folder, self.position.best_epoch)

    def _better(self, value: float, best: float) -> bool:
        return value < best if self.config.select in LOWER_IS_BETTER else value > best

    def _training_mode(self) -> None:
        self.module.train()
        backbone = getattr(self.method, "backbone", None)
        if isinstance(backbone, nn.Module) and self.config.backbone_learning_rate == 0:
            backbone.eval()

    def _usable(self, batches: Iterable[Any]) -> Iterator[Any]:
        fabric = self.fabric
        if self.module.encode is not None:
            yield from batches
            return
        for batch in cast(Iterable[Batch], batches):
            enough = min(len(batch.texts.pooled_TD), len(batch.videos.frames_VFD)) >= max(LEAST, fabric.world_size)
            yield share(batch, fabric.global_rank, fabric.world_size) if enough else None


def _check(config: TrainConfig, steps_per_epoch: int) -> None:
    if config.epochs < 1 or steps_per_epoch < 1:
        raise ValueError(
            f"at least one epoch of at least one step is needed, not {config.epochs} and {steps_per_epoch}"
        )
    if config.optimizer == "adamw" and 0 < config.schedule_epochs < config.epochs:
        raise ValueError(
            f"schedule_epochs {config.schedule_epochs} of {config.epochs} epochs: adamw's rate ends at 0 there"
        )
    if not 0 <= config.warmup < 1:
        raise ValueError(f"warmup is a share of all steps from 0 to below 1, not {config.warmup}")
    if config.clip_norm < 0 or config.max_logit_scale <= 0:
        raise ValueError("clip_norm must not be negative (0 clips nothing), and max_logit_scale must be positive")


def _not_finite(what: str, step: int, epoch: int, parts: Mapping[str, float]) -> str:
    listed = ", ".join(f"{name} {value:g}" for name, value in parts.items())
    return (
        f"the {what} is not finite at step {step} (epoch {epoch}): {listed}. "
        "The last saved state is intact; lower the learning rate or look at the batch"
    )
