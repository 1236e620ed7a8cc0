"""From the settings of a run to a trained method on disk.

Frozen towers: embed once, train the head on cached features. Towers with a learning rate: end to end over frames (see
`reelseek.recipes.frames`). The test split is loaded by neither.
Shapes: T texts, V videos.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from reelseek.checkpoint.runs import CONFIG
from reelseek.config import DataConfig, EvaluateConfig, RunConfig
from reelseek.config_check import check
from reelseek.data import GENERATED, user_folder
from reelseek.data import load as load_data
from reelseek.data.pairs import Pairs
from reelseek.embed import EmbeddedPairs, Progress, embed_pairs
from reelseek.errors import ConfigError, DataError
from reelseek.evaluation import evaluate_embedded
from reelseek.evaluation_bank import check_rescoring
from reelseek.methods import build, check_name
from reelseek.methods.method import Method
from reelseek.methods.saved import is_run, load_backbone, pick_device, save
from reelseek.recipes.diagnose import epoch_diagnostics
from reelseek.recipes.keep import alone, keep_settings
from reelseek.recipes.objective import objective
from reelseek.recipes.refuse import refuse_unread
from reelseek.recipes.relevance import batch_relevance, rivals_of
from reelseek.training.batches import Batch, batch_numbers, count_batches
from reelseek.training.distributed import first_alone, make_fabric, refuse_own_folders
from reelseek.training.loop import FitResult, fit, seed_all

Say = Callable[[str], None]
Stages = Callable[[str], AbstractContextManager[Progress]]
"""From the name of a stage to a context that gives its progress function, called with (done, total)."""
SEEN = "seen.json"


class Outcome(NamedTuple):
    """A trained method (its best epoch's weights), how training went, and the run folder."""

    method: Method
    fit: FitResult
    folder: Path


def train(
    config: RunConfig,
    out: Path | str,
    *,
    cache: Path | str | None = None,
    progress: Stages = lambda stage: nullcontext(lambda done, total: None),
    say: Say = lambda line: None,
) -> Outcome:
    """Train by a recipe's settings into the folder `out`; a run that was stopped goes on.

    Best weights are chosen on the validation split; the test split is not read. progress: one bar for every stage.
    Raises DataError for data that is not there, ConfigError for wrong settings,
    CheckpointError if `out` holds another run or something else, or another process trains in it.
    """
    out = Path(out)
    check(config)
    check_name(config.method.name)
    pick_device(config.train.device)
    refuse_unread(config)
    check_rescoring(config.evaluate)  # `evaluate` would refuse it, hours later
    _tell_what_is_made(config.data, say)
    fabric = make_fabric(config.train)
    # Under torchrun the first process of a machine makes what the others then find.
    with fabric.rank_zero_first(local=True), progress("making the benchmark") as tell:
        splits = load_data(config.data, tell)
    if splits.train is None or splits.val is None:
        raise DataError(
            f"{config.data.name}: training needs a train and a val split; this data has only a part of them."
        )
    if config.train.batches == "contrasts":
        rivals_of(splits.train)  # refuses data without any before hours of embedding
    device = str(fabric.device)
    seed_all(config.train.seed)
    method = build(config.method, load_backbone(config.method.backbone, device=device)).to(device)
    _refuse_nothing_to_train(method, config)
    with ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(alone(out, say))
            keep_settings(config, splits, out)

        first_alone(fabric, begin)
        refuse_own_folders(fabric, out)  # before hours of embedding
        cache = Path(cache) if cache else cache_folder()
        for pairs in (splits.train, splits.val):
            say(pairs.describe())
        if config.train.backbone_learning_rate > 0:
            if method.sentences is not None:
                with fabric.rank_zero_first(local=True), progress(f"nouns and verbs of {splits.train.name}") as tell:
                    method.read_ahead(splits.train.texts, cache, tell)
            result, seen = _train_frames(method, splits.train, splits.val, config, out, progress, say)
        else:
            with fabric.rank_zero_first(local=True):
                train_set, val_set = (
                    _embed(method, pairs, config, cache, progress, say) for pairs in (splits.train, splits.val)
                )
            result, seen = _train_features(method, train_set, val_set, config, out, progress)
        _write(method, seen, splits.val, config, out, finished_before=result.resumed_at == result.steps)
    return Outcome(method, result, out)


def _write(method: Method, seen: Pairs, val: Pairs, config: RunConfig, out: Path, *, finished_before: bool) -> None:
    """Let a trained method say what it saw, and write it into its run folder, which the first process does."""
    kept = _kept(out) if finished_before else None
    if kept is not None:
        method.trained_on, seen_videos = kept
    else:
        method.trained_on = f"{seen.name}: {len(seen.video_ids):,} videos, {len(seen.texts):,} texts"
        chosen_on = val.video_ids if val.corpus == seen.corpus else ()
        prints = {"videos": [*seen.fingerprints().values()], "validation": [*val.fingerprints().values()]}
        seen_videos = json.dumps(
            {"corpus": seen.corpus, "videos": seen.video_ids, "validation": chosen_on, "fingerprints": prints}
        )
    if int(os.environ.get("RANK", "0")) == 0:
        method.run = asdict(config) | {"files": {SEEN: seen_videos}}
        save(method, out, run=method.run, extra=method.run["files"])


def _kept(out: Path) -> tuple[str, str] | None:
    """What a run that was finished before says of its training data, in words and in seen.json, if it said it."""
    if not is_run(out) or not (out / SEEN).exists():
        return None
    words = json.loads((out / CONFIG).read_text(encoding="utf-8")).get("trained_on", "unknown")
    return words, (out / SEEN).read_text(encoding="utf-8")


def _tell_what_is_made(data: DataConfig, say: Say) -> None:
    """Say that a generated benchmark will be made in a folder that is not there: it may be a mistyped one."""
    root = Path(data.root)
    if data.name not in GENERATED or not data.root or root.exists():
        return
    if not root.parent.exists():
        raise DataError(
            f"--data {root}: neither it nor {root.parent} is there. {data.name} is made in a folder that may be new; "
            "the one above it must exist."
        )
    say(f"{root} is not there: {data.name} will be made in it.")


def _refuse_nothing_to_train(method: Method, config: RunConfig) -> None:
    names = [name for name, _ in method.named_parameters() if name != "log_scale" and not name.startswith("backbone.")]
    if not names and config.train.backbone_learning_rate == 0:
        raise ConfigError(
            f"{method.name} over frozen {method.backbone.name} towers has nothing to train: give the towers a "
            "train.backbone_learning_rate, or the method a method.temporal of lstm or transformer."
        )


def refuse_seen(method: Method, pairs: Pairs, *, as_test: bool = True) -> None:
    """Refuse to score a method on videos it was trained on, and as a test also on those its weights were chosen on.

    A method that no run of reelseek made does not know what it saw. Raises DataError that counts the videos.
    """
    if SEEN not in method.run.get("files", {}):
        return
    seen = json.loads(method.run["files"][SEEN])
    prints = seen.get("fingerprints", {})  # runs of before have none
    pairs.refuse_seen(seen["corpus"], seen["videos"], prints.get("videos", ()))
    if as_test:
        pairs.refuse_seen(seen["corpus"], seen.get("validation", ()), prints.get("validation", ()), part="validation")


def cache_folder() -> Path:
    """Where tower outputs are kept unless a caller says otherwise: $REELSEEK_CACHE, else the user's cache folder."""
    if "REELSEEK_CACHE" in os.environ:
        return Path(os.environ["REELSEEK_CACHE"])
    return user_folder() / "embeddings"


def _embed(method: Method, pairs: Pairs, config: RunConfig, cache: Path, progress: Stages, say: Say) -> EmbeddedPairs:
    with progress(f"embedding {pairs.name}") as tell:
        embedded = embed_pairs(method, pairs, config.sample, cache=cache, progress=tell)
    for broken in embedded.broken:
        say(f"set aside: {broken.reason}")
    return embedded


def _train_features(
    method: Method,
    train_set: EmbeddedPairs,
    val_set: EmbeddedPairs,
    config: RunConfig,
    out: Path,
    progress: Stages,
) -> tuple[FitResult, Pairs]:
    size, count = config.train.batch_size, len(train_set.pairs.texts)
    steps = count_batches(count, size)
    rivals = rivals_of(train_set.pairs) if config.train.batches == "contrasts" else None

    def batches(epoch: int, start: int) -> Iterator[Batch]:
        for rows in batch_numbers(count, size, seed=config.train.seed, epoch=epoch, rivals=rivals)[start:]:
            yield feature_batch(train_set, rows)

    with progress(f"training {method.name}") as tell:
        result = fit(
            method,
            batches,
            objective(config.loss),
            config=config.train,
            steps_per_epoch=steps,
            folder=out,
            validate=lambda: validation(method, val_set, config),
            progress=_steps(tell, steps * config.train.epochs),
        )
    return result, train_set.pairs


def _train_frames(
    method: Method,
    train_pairs: Pairs,
    val_pairs: Pairs,
    config: RunConfig,
    out: Path,
    progress: Stages,
    say: Say,
) -> tuple[FitResult, Pairs]:
    from reelseek.recipes.frames import Clips

    clips = Clips(method, train_pairs, config, say)

    def validate() -> Mapping[str, float]:
        # The towers change from epoch to epoch: nothing of them can be kept in a cache.
        return validation(method, embed_pairs(method, val_pairs, config.sample), config)

    with progress(f"training {method.name}") as tell:
        result = fit(
            method,
            clips.batches,
            objective(config.loss),
            config=config.train,
            steps_per_epoch=clips.steps,
            folder=out,
            validate=validate,
            encode=clips.encode,
            cut=clips.cut if config.train.chunk else None,
            progress=_steps(tell, clips.steps * config.train.epochs),
        )
    return result, train_pairs


def validation(method: Method, embedded: EmbeddedPairs, config: RunConfig) -> dict[str, float]:
    """Text-to-video metrics on the validation split, without intervals, and `epoch_diagnostics` of a few pairs of it.

    Always by the default protocol, so that the weights a run ends with do not hang on how it will be evaluated.
    Diagnostics that a sample has no number for, such as a spread of one, are left out.
    """
    plain = EvaluateConfig(block=config.evaluate.block, bootstrap=0)
    found = evaluate_embedded(method, embedded, config=plain, frames=config.sample.frames)
    values = dict(found.metrics["text_to_video"])
    if len(set(embedded.pairs.video_of_T.tolist())) > 1:
        diagnostics = epoch_diagnostics(method, embedded, config)
        values |= {name: value for name, value in diagnostics.items() if math.isfinite(value)}
    return values


def feature_batch(embedded: EmbeddedPairs, rows: np.ndarray) -> Batch:
    """Captions `rows` of an embedded split, each with its video, and which of them truly match."""
    videos = embedded.pairs.video_of_T[rows]
    return Batch(
        embedded.texts.each(itemgetter(torch.from_numpy(rows))),
        embedded.videos.each(itemgetter(torch.from_numpy(videos))),
        batch_relevance(embedded.pairs, rows),
    )


def _steps(progress: Progress, total: int) -> Callable[[Mapping[str, Any]], None]:
    return lambda record: progress(int(record["step"]), total) if record.get("kind") == "step" else None
