"""One run of a grid: train an arm with a seed, score it on the test split in every way asked for, keep ranks a query.

A finished run is `result.json` and `ranks.npz` in its folder, the former written last. Not here: scoring
(`reelseek.study.scoring`), which runs there are (`reelseek.study.plan`), running many (`reelseek.study.grid`).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch

from reelseek.config import DataConfig, RunConfig
from reelseek.data import load as load_data
from reelseek.embed import embed_pairs
from reelseek.errors import CheckpointError, DataError
from reelseek.methods import build
from reelseek.methods.method import Method
from reelseek.methods.saved import is_run, load, load_backbone, pick_device, run_settings
from reelseek.rank.export import write_json
from reelseek.recipes.run import Stages, train
from reelseek.study.benchmarks import galleries
from reelseek.study.plan import Run, Study, arm_config, benchmark_of, modes_of
from reelseek.study.scoring import Splits, gallery_of, score

RESULT, RANKS = "result.json", "ranks.npz"
_AFTERWARDS_NEEDLESS = ("state.safetensors", "best.safetensors", "tensorboard")


class Place(NamedTuple):
    """Where a study lives: its folder, the settings of every benchmark that it uses, and the cache of tower outputs."""

    out: Path
    data: Mapping[str, DataConfig]
    cache: Path


def quiet(stage: str) -> Any:
    """A progress function that says nothing."""
    return nullcontext(lambda done, total: None)


def is_finished(study: Study, run: Run, place: Place) -> bool:
    """Whether a run is trained, and scored in every way that the study asks for.

    Raises CheckpointError where the folder holds a run of other settings.
    """
    try:
        kept = json.loads((place.out / run.folder / RESULT).read_text(encoding="utf-8"))
        settings, modes = kept["settings"], kept["modes"]
    except (OSError, ValueError, KeyError):
        return False
    wanted = asdict(arm_config(study, run, place.data[benchmark_of(study, run.arm)]))
    changed = _changed(settings, wanted)
    if changed:
        raise CheckpointError(
            f"{place.out / run.folder} holds a run of other settings ({changed}). Give the study another folder."
        )
    return bool(modes == {name: asdict(mode) for name, mode in modes_of(study).items()})


def finish(study: Study, run: Run, place: Place, splits: dict[str, Splits], *, progress: Stages = quiet) -> None:
    """Train and score one run, or what is left of it, into its folder.

    splits: test galleries by benchmark and sampling, filled here for the runs to come.
    Raises what training raises; a KeyboardInterrupt from `progress` leaves a run that goes on.
    """
    started = time.perf_counter()
    benchmark = benchmark_of(study, run.arm)
    config = arm_config(study, run, place.data[benchmark])
    folder = place.out / run.folder
    if is_run(folder):
        changed = _changed(run_settings(folder), asdict(config))
        if changed:
            raise CheckpointError(f"{folder} holds a run of other settings ({changed}). Give the study another folder.")
        method = load(str(folder), device=pick_device(config.train.device))
    else:
        method = train(config, folder, cache=place.cache, progress=progress).method
    key = f"{benchmark} {config.sample} {config.method.backbone} {getattr(method, 'text_id', '')}"
    if config.train.backbone_learning_rate:
        splits.clear()  # no other run has these towers
    if key not in splits:
        splits[key] = _embed(method, config, benchmark, place, with_bank=_needs_bank(study))
    scoring = time.perf_counter()
    found: dict[str, np.ndarray] = {}
    protocols: dict[str, Any] = {}
    for name, mode in modes_of(study).items():
        tables, protocols[name] = score(method, splits[key], mode, frames=config.sample.frames)
        found |= {f"{table}|{name}": values for table, values in tables.items()}
    record = _training_record(folder)
    _write_arrays(folder / RANKS, found)
    write_json(
        folder / RESULT,
        {
            "arm": run.arm,
            "seed": run.seed,
            "benchmark": benchmark,
            "settings": asdict(config),
            "modes": {name: asdict(mode) for name, mode in modes_of(study).items()},
            "protocols": protocols,
            "parameters": _parameters(method),
            **record,
            "scoring_seconds": time.perf_counter() - scoring,
            # A run that goes on from a saved state took longer than this start of it.
            "seconds": max(time.perf_counter() - started, record["training_seconds"]),
            "threads": torch.get_num_threads(),
        },
    )
    for name in _AFTERWARDS_NEEDLESS:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def embed_ahead(study: Study, runs: Sequence[Run], place: Place, progress: Stages) -> None:
    """Put the videos of every split that `runs` read through the towers, into the cache, each once.

    Raises DataError for a split of which nothing can be read, and what loading data raises.
    """
    done: set[str] = set()
    for run in runs:
        benchmark = benchmark_of(study, run.arm)
        config = arm_config(study, run, place.data[benchmark])
        key = f"{benchmark} {config.sample} {config.method.backbone}"
        # Towers that learn give other outputs after every run.
        if key in done or config.train.backbone_learning_rate:
            continue
        done.add(key)
        device = pick_device(config.train.device)
        method = build(config.method, load_backbone(config.method.backbone, device=device))
        for pairs in load_data(config.data):
            if pairs is not None:
                with progress(f"embedding {pairs.name}") as tell:
                    embed_pairs(method, pairs, config.sample, cache=place.cache, progress=tell)


def load_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The tables of a finished run by "table|mode". Raises CheckpointError for a damaged file."""
    try:
        with (folder / RANKS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{folder / RANKS} is damaged ({error}). Delete {folder} to run it again.") from None


def _embed(method: Method, config: RunConfig, benchmark: str, place: Place, *, with_bank: bool) -> Splits:
    splits = load_data(config.data)
    if splits.test is None or splits.train is None:
        raise DataError(f"{config.data.name}: a study needs a train and a test split.")
    test = embed_pairs(method, splits.test, config.sample, cache=place.cache)
    parts = [gallery_of(test, videos) for videos in galleries(benchmark, config.data, test.pairs)]
    bank = embed_pairs(method, splits.train, config.sample, cache=place.cache) if with_bank else None
    return Splits(parts, bank)


def _needs_bank(study: Study) -> bool:
    return any(mode.evaluate.get("prior") == "bank" for mode in study.modes.values())


def _training_record(folder: Path) -> dict[str, Any]:
    """What the log says: seconds a step (median), steps, seconds in all steps, validation by epoch, its best value."""
    steps: list[float] = []
    validation: list[tuple[int, float]] = []
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record.get("kind") == "step":
            steps.append(record["seconds"])
        elif record.get("kind") == "validation":
            validation.append((record["epoch"], record["R@1"]))
    return {
        "steps": len(steps),
        "seconds_a_step": statistics.median(steps) if steps else None,
        "training_seconds": sum(steps),
        "validation": validation,
        "best_validation": max((value for _, value in validation), default=None),
    }


def _parameters(method: Method) -> int:
    return sum(p.numel() for name, p in method.named_parameters() if not name.startswith("backbone."))


def _changed(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first setting that differs, in words; where things are does not count.

    A setting that is newer than the kept run had its default then.
    """
    usual = asdict(RunConfig())
    places = {("data", "root"), ("data", "captions"), ("train", "device")}
    kept, wanted = json.loads(json.dumps(kept)), json.loads(json.dumps(wanted))
    for section, values in wanted.items():
        for name, value in values.items():
            before = kept.get(section, {}).get(name, usual[section][name])
            if (section, name) not in places and before != value:
                return f"{section}.{name} was {before}, now {value}"
    return ""


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    part.replace(path)
