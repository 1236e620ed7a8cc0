"""The data of studies: how it is made or found, and how its test split is cut into galleries.

Not here: the datasets themselves (`reelseek.data`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reelseek.config import DataConfig
from reelseek.data import load, user_folder
from reelseek.data.pairs import Pairs, Splits
from reelseek.errors import ConfigError, DataError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Benchmark:
    """What a study is run on.

    data: the dataset and its settings, without a place. videos: of train, val and test where they are generated; knobs:
    settings of the generator. gallery: videos that a query is ranked among: the test split is cut into galleries of so
    many, 0 for one gallery of all. beside: appended to the name of the folder that --data gives, for benchmarks which
    accompany another one in a study.
    """

    data: DataConfig
    videos: tuple[int, int, int] | None = None
    knobs: dict[str, Any] = field(default_factory=dict)
    gallery: int = 0
    beside: str = ""


def _motions(false_negatives: float | None = None, *, beside: str = "") -> Benchmark:
    knobs: dict[str, Any] = {"objects": 120, "test_captions": 3}
    if false_negatives is not None:
        knobs["false_negatives"] = false_negatives
    data = DataConfig(name="motions", seed=11)
    return Benchmark(data, videos=(1500, 200, 1400), knobs=knobs, gallery=200, beside=beside)


BENCHMARKS: dict[str, Benchmark] = {
    "motions": _motions(),
    "motions-0": _motions(0.0, beside="-fn0"),
    "motions-20": _motions(0.2, beside="-fn20"),
    "motions-40": _motions(0.4, beside="-fn40"),
    "babyai": Benchmark(DataConfig(name="babyai", seed=11), videos=(1200, 150, 1400), gallery=200),
    "exercises": Benchmark(DataConfig(name="exercises")),
    "folder": Benchmark(DataConfig(name="folder")),
}
"""Generated videos, of which 5, 0, 20 or 40 % show another one's programme again; solved episodes; photos; your own."""


def place(name: str, root: str) -> DataConfig:
    """The settings of a benchmark in the folder `root`, or in the user's cache where that is empty."""
    benchmark = benchmark_named(name)
    if root:
        folder = Path(root).absolute()
        return replace(benchmark.data, root=str(folder.with_name(folder.name + benchmark.beside)))
    if benchmark.videos is None:
        return benchmark.data
    return replace(benchmark.data, root=str(user_folder() / f"study-{benchmark.data.name}{benchmark.beside}"))


def make(name: str, data: DataConfig, progress: Progress | None = None) -> None:
    """Generate a benchmark in its place, or finish that; nothing happens where it is whole.

    Raises DataError for a folder of other settings, and for a dataset without the three splits.
    """
    benchmark = benchmark_named(name)
    splits = load(data, progress) if benchmark.videos is None else _generate(benchmark, data, progress)
    absent = [part for part in splits._fields if getattr(splits, part) is None]
    if absent:
        raise DataError(f"{name}: a study needs train, val and test splits; this data has no {absent[0]}.")


def _generate(benchmark: Benchmark, data: DataConfig, progress: Progress | None) -> Splits:
    from reelseek.data import babyai, motions
    from reelseek.data.motions_plan import Knobs

    sizes = dict(zip(("train", "val", "test"), benchmark.videos or (), strict=True))
    if data.name == "babyai":
        return babyai.generate(data.root, **sizes, seed=data.seed, progress=progress)
    return motions.generate(data.root, **sizes, seed=data.seed, knobs=Knobs(**benchmark.knobs), progress=progress)


def galleries(name: str, data: DataConfig, test: Pairs) -> list[tuple[str, ...]]:
    """The video ids of every gallery of a test split: whole galleries, videos that are left over are not tested.

    Of generated videos, those that share objects stay together, so that twins and hard negatives compete; only groups
    that a gallery's edge cuts are apart.
    """
    size = benchmark_named(name).gallery
    if not size or len(test.video_ids) <= size:
        return [test.video_ids]
    ids = test.video_ids
    if data.name == "motions":
        from reelseek.data.motions import load_items

        group_of = {item.id: item.group for item in load_items(data.root, test)}
        ids = tuple(sorted(ids, key=lambda video: group_of[video]))
    return [ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]


def benchmark_named(name: str) -> Benchmark:
    """The benchmark of a name. Raises ConfigError for an unknown one."""
    if name not in BENCHMARKS:
        raise ConfigError(f"there is no benchmark {name!r} for studies. Known: {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[name]
