"""Benchmarks and folders, read into `reelseek.data.pairs.Pairs`."""

from __future__ import annotations

import difflib
import importlib
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

from reelseek.config import DataConfig
from reelseek.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from reelseek.data.pairs import Pairs, Splits

    Progress = Callable[[int, int], None] | None


def user_folder() -> Path:
    """Where this user's caches are: below $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reelseek"


DATASETS: dict[str, str] = {
    "motions": "reelseek.data.motions:from_config",
    "babyai": "reelseek.data.babyai:from_config",
    "folder": "reelseek.data.folder:from_config",
    "hf": "reelseek.data.huggingface:from_config",
    "webdataset": "reelseek.data.webdataset:from_config",
    "exercises": "reelseek.data.exercises:from_config",
    "msrvtt-1ka-9k": "reelseek.data.msrvtt:from_config",
    "msrvtt-1ka-7k": "reelseek.data.msrvtt:from_config",
    "msrvtt-full": "reelseek.data.msrvtt:from_config",
    "msvd": "reelseek.data.msvd:from_config",
    "lsmdc": "reelseek.data.lsmdc:from_config",
    "didemo": "reelseek.data.didemo:from_config",
    "activitynet": "reelseek.data.activitynet:from_config",
    "activitynet-val2": "reelseek.data.activitynet:from_config",
    "vatex": "reelseek.data.vatex:from_config",
    "youcook2": "reelseek.data.youcook2:from_config",
    "tgif": "reelseek.data.tgif:from_config",
}
"""Name -> "module:function"; the function takes the DataConfig and a progress function or None, and returns Splits."""


GENERATED = ("motions", "babyai")
"""Data sets that are made when they are first asked for."""
OWNERS = {
    **dict.fromkeys(["objects", "false_negatives", "noise", "noise_rate"], ("motions",)),
    **dict.fromkeys(["video_column", "caption_column"], ("hf",)),
    "captions": ("folder", "msvd"),
}
"""Settings that only some datasets have."""


def load(config: DataConfig, progress: Progress = None) -> Splits:
    """The splits of a benchmark by name (a key of `DATASETS`).

    size: for "motions" and "babyai", the number of training videos to make (a fifth as many for validation, two
    fifths for test), where 0 takes what `root` holds, or makes 500; for every other name, at most so many training
    videos, drawn by `seed`, where 0 takes all. An empty `root` puts these two into the user's cache folder.
    progress: called with (done, in all) while videos are made.
    Raises ConfigError for an unknown name, DataError for files that are absent or do not fit together.
    """
    if config.name not in DATASETS:
        close = difflib.get_close_matches(config.name, DATASETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"No dataset {config.name!r}. Known: {', '.join(sorted(DATASETS))}.{hint}")
    for name, owners in OWNERS.items():
        if config.name not in owners and getattr(config, name) != getattr(DataConfig, name):
            known = " and ".join(map(repr, owners))
            raise ConfigError(
                f"data.{name} is a setting of the dataset{'s' * (len(owners) > 1)} {known}, not of {config.name!r}."
            )
    if not config.root and config.name not in GENERATED:
        hub = ", or a name on the hub" if config.name == "hf" else ""
        raise DataError(f"{config.name}: give --data DIR (data.root), the folder with its files{hub}.")
    module, function = DATASETS[config.name].split(":")
    splits: Splits = getattr(importlib.import_module(module), function)(config, progress)
    if config.name in GENERATED or not config.size or splits.train is None:
        return splits
    return splits._replace(train=_thinned(splits.train, config.size, config.seed))


def _thinned(pairs: Pairs, size: int, seed: int) -> Pairs:
    keep = sorted(random.Random(seed).sample(range(len(pairs.video_ids)), min(size, len(pairs.video_ids))))
    return pairs.subset(pairs.video_ids[at] for at in keep)
