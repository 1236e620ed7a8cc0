"""Benchmarks and folders, read into `reelseek.data.pairs.Pairs`."""

from __future__ import annotations

import difflib
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

from reelseek.config import DataConfig
from reelseek.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from reelseek.data.pairs import Pairs, Splits

    Progress = Callable[[int, int], None] | None


def user_folder() -> Path:
    """Where this user's caches are: below $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reelseek"


def _motions(config: DataConfig, progress: Progress) -> Splits:
    from reelseek.data import motions

    train = config.size or 500
    folder = Path(config.root) if config.root else user_folder() / f"motions-{train}-{config.seed}"
    if not config.size and (folder / "motions.json").is_file():
        return motions.load(folder)
    return motions.generate(
        folder,
        train=train,
        val=max(train // 5, 1),
        test=max(2 * train // 5, 1),
        seed=config.seed,
        progress=progress,
    )


def _folder(config: DataConfig, _progress: Progress) -> Splits:
    from reelseek.data.folder import load_folder

    return load_folder(config.root, config.captions, seed=config.seed)


def _msrvtt_1ka_9k(config: DataConfig, _progress: Progress) -> Splits:
    from reelseek.data.msrvtt import load_1ka

    return load_1ka(config.root, train="9k", seed=config.seed)


def _msrvtt_1ka_7k(config: DataConfig, _progress: Progress) -> Splits:
    from reelseek.data.msrvtt import load_1ka

    return load_1ka(config.root, train="7k", seed=config.seed)


def _msrvtt_full(config: DataConfig, _progress: Progress) -> Splits:
    from reelseek.data.msrvtt import load_full

    return load_full(config.root)


DATASETS: dict[str, Callable[[DataConfig, Progress], Splits]] = {
    "motions": _motions,
    "folder": _folder,
    "msrvtt-1ka-9k": _msrvtt_1ka_9k,
    "msrvtt-1ka-7k": _msrvtt_1ka_7k,
    "msrvtt-full": _msrvtt_full,
}


def load(config: DataConfig, progress: Progress = None) -> Splits:
    """The splits of a benchmark by name (a key of `DATASETS`).

    size: for "motions", the number of training videos to make (a fifth as many for validation, two fifths for test),
    where 0 takes what `root` holds, or makes 500; for every other name, at most so many training videos, drawn by
    `seed`, where 0 takes all. An empty `root` puts "motions" into the user's cache folder.
    progress: called with (done, in all) while videos are made.
    Raises ConfigError for an unknown name, DataError for files that are absent or do not fit together.
    """
    if config.name not in DATASETS:
        close = difflib.get_close_matches(config.name, DATASETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"No dataset {config.name!r}. Known: {', '.join(sorted(DATASETS))}.{hint}")
    splits = DATASETS[config.name](config, progress)
    if config.name == "motions" or not config.size or splits.train is None:
        return splits
    return splits._replace(train=_thinned(splits.train, config.size, config.seed))


def _thinned(pairs: Pairs, size: int, seed: int) -> Pairs:
    keep = sorted(random.Random(seed).sample(range(len(pairs.video_ids)), min(size, len(pairs.video_ids))))
    return pairs.subset(pairs.video_ids[at] for at in keep)
