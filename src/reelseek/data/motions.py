"""The synthetic benchmark: rendered videos of objects that move, with captions in which order and roles matter.

Not here: lots (motions_plan), wording (motions_language), pictures (motions_render). The rendered sprites stem from
OpenMoji (CC-BY-SA 4.0), so a rendered folder carries that licence when it is passed on.
Shapes: T texts, V videos.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reelseek.config import DataConfig
from reelseek.data import user_folder
from reelseek.data.motions_items import SPLITS, Item, true_pairs, twin_contrasts
from reelseek.data.motions_plan import NOISES, Caption, Knobs, plan_captions, plan_items
from reelseek.data.pairs import Pairs, Splits
from reelseek.data.writing import remove_leftovers, replace_text
from reelseek.errors import ConfigError, DataError

VERSION = 1
# Noise after which a caption no longer claims what its video shows.
UNTRUE = frozenset({"mismatch", "wrong_motion", "wrong_object"})


def generate(
    folder: str | Path,
    *,
    train: int = 500,
    val: int = 100,
    test: int = 200,
    seed: int = 0,
    knobs: Knobs | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Splits:
    """Render the benchmark into a folder, or finish what an earlier call began, and load it.

    Writes videos/*.mp4, captions.jsonl (one caption a line, in the format of `reelseek.data.folder`) and motions.json
    (settings and items). Equal settings give equal items, captions and frames; videos that are there are not rendered
    again. progress: called with (videos done, videos in all) after each.
    Raises DataError if the folder holds a benchmark of other settings, or the glyphs are not installed; ValueError for
    settings that leave nothing to draw.
    """
    folder, knobs = Path(folder), knobs or Knobs()
    if min(train, val, test) < 1:
        raise ValueError(f"every split needs at least one video, got train={train}, val={val}, test={test}")
    settings = {"version": VERSION, "train": train, "val": val, "test": test, "seed": seed, "knobs": knobs.to_json()}
    _refuse_other(folder, settings)
    items = plan_items(train=train, val=val, test=test, seed=seed, knobs=knobs)
    missing = [item for item in items if not _video(folder, item.id).exists()]
    if missing:
        # Imported here: reading a folder needs neither the font nor a video library.
        from reelseek.data.motions_render import frames_of, write_video

        (folder / "videos").mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder / "videos")
        done = len(items) - len(missing)
        for item in missing:
            write_video(frames_of(item, knobs), _video(folder, item.id), knobs)
            done += 1
            if progress is not None:
                progress(done, len(items))
    captions = plan_captions(items, seed=seed, knobs=knobs)
    split_of = {item.id: item.split for item in items}
    lines = [
        {"video": f"videos/{c.item}.mp4", "caption": c.text, "split": split_of[c.item], "id": c.id, "noise": c.noise}
        for c in captions
    ]
    replace_text(folder / "captions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    replace_text(
        folder / "motions.json", json.dumps({"settings": settings, "items": [item.to_json() for item in items]})
    )
    return load(folder)


def from_config(config: DataConfig, progress: Callable[[int, int], None] | None) -> Splits:
    """The benchmark as settings name it; see `reelseek.data.load`.

    A folder holds one choice of items. Noise is drawn when captions are read, so every level of it shares the videos.
    """
    if config.noise == "none" and config.noise_rate:
        raise ConfigError(f"data.noise_rate is {config.noise_rate} but data.noise is none; name the noise.")
    chosen: dict[str, Any] = {"objects": config.objects} if config.objects else {}
    if config.false_negatives is not None:
        chosen["false_negatives"] = config.false_negatives
    noise: dict[str, Any] = {} if config.noise == "none" else {config.noise: config.noise_rate}
    try:
        knobs = Knobs(**chosen)
        replace(knobs, **noise)
    except ValueError as error:
        raise ConfigError(f"data settings of motions: {error}.") from error
    train = config.size or 500
    named = "".join(f"-{name.replace('_', '-')}-{value:g}" for name, value in chosen.items())
    folder = Path(config.root) if config.root else user_folder() / f"motions-{train}-{config.seed}{named}"
    if not config.size and (folder / "motions.json").is_file():
        held = _read(folder)["settings"]["knobs"]
        for name, value in chosen.items():
            if held[name] != value:
                raise DataError(f"{folder} was made with {name} {held[name]}, not {value}; choose another folder.")
        splits = load(folder, noise=noise)
    else:
        splits = generate(
            folder,
            train=train,
            val=max(train // 5, 1),
            test=max(2 * train // 5, 1),
            seed=config.seed,
            knobs=knobs,
            progress=progress,
        )
        splits = load(folder, noise=noise) if noise else splits
    return splits


def load(folder: str | Path, *, noise: Mapping[str, float] | None = None) -> Splits:
    """Read a rendered benchmark. Videos that are absent are counted as missing.

    noise: shares of training captions to spoil, by the names in `Knobs`, instead of those that the folder's captions
    were written with; the captions are then drawn anew, equal but for the noise.
    `extra_relevance` of each split holds every further video of which a caption is true; a caption spoilt by noise that
    changes its meaning gets none. `contrasts` sets each whole caption's video against its twin. Raises DataError if
    the folder holds no benchmark.
    """
    folder = Path(folder)
    stored = _read(folder)
    items = [Item.from_json(values) for values in stored["items"]]
    captions = _read_captions(folder)
    if noise:
        knobs = Knobs(**{**stored["settings"]["knobs"], **dict.fromkeys(NOISES, 0.0), **noise})
        captions = plan_captions(items, seed=stored["settings"]["seed"], knobs=knobs)
    seed, sizes = stored["settings"]["seed"], [stored["settings"][split] for split in SPLITS]
    corpus = f"motions-{stored['settings']['version']}-{seed}-{'-'.join(map(str, sizes))}"
    return Splits(*(_pairs(folder, split, corpus, items, captions) for split in SPLITS))


def size_of(folder: str | Path) -> int:
    """The number of training videos of a folder's benchmark, finished or not; 0 where there is none."""
    held = _held(Path(folder))
    return int(held["train"]) if held else 0


def load_items(folder: str | Path, pairs: Pairs) -> tuple[Item, ...]:
    """The items behind a split's videos, in the order of `pairs.video_ids`. Raises DataError for foreign videos."""
    items = {values["id"]: values for values in _read(Path(folder))["items"]}
    foreign = [video for video in pairs.video_ids if video not in items]
    if foreign:
        raise DataError(f"{pairs.name}: {foreign[0]!r} is no video of {folder} ({len(foreign)} such ids).")
    return tuple(Item.from_json(items[video]) for video in pairs.video_ids)


def _pairs(folder: Path, split: str, corpus: str, items: list[Item], captions: list[Caption]) -> Pairs:
    ours = [item for item in items if item.split == split]
    found = [item for item in ours if _video(folder, item.id).exists()]
    position = {item.id: at for at, item in enumerate(found)}
    absent = {item.id for item in ours} - set(position)
    kept = [caption for caption in captions if caption.item in position]
    claims = [(at, found[position[c.item]]) for at, c in enumerate(kept) if not UNTRUE & set(c.noise)]
    whole = [(at, item) for at, item in claims if "dropped_clause" not in kept[at].noise]
    own = [(at, position[caption.item]) for at, caption in enumerate(kept)]
    spoilt = sum(bool(caption.noise) for caption in kept)
    return Pairs(
        name=f"motions {split}",
        texts=tuple(caption.text for caption in kept),
        text_ids=tuple(caption.id for caption in kept),
        video_of_T=np.array([at for _, at in own], dtype=np.int64),
        video_ids=tuple(item.id for item in found),
        paths=tuple(_video(folder, item.id) for item in found),
        extra_relevance=tuple(sorted(set(true_pairs(claims, found)) - set(own))),
        missing_videos=tuple(sorted(absent)),
        missing_texts=sum(caption.item in absent for caption in captions),
        corpus=corpus,
        notes=(f"{spoilt:,} captions spoilt on purpose",) if spoilt else (),
        contrasts=twin_contrasts(whole, found),
    )


def _video(folder: Path, item_id: str) -> Path:
    return folder / "videos" / f"{item_id}.mp4"


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "motions.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no rendered benchmark (no motions.json); make one with motions.generate.")
    try:
        stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}); remove it and generate again.") from error
    if stored.get("settings", {}).get("version") != VERSION:
        raise DataError(f"{path} was written by another version of the generator; generate into a new folder.")
    return stored


def _read_captions(folder: Path) -> list[Caption]:
    path = folder / "captions.jsonl"
    if not path.is_file():
        raise DataError(f"{path} is missing; generate again to write it.")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [Caption(row["id"], Path(row["video"]).stem, row["caption"], tuple(row["noise"])) for row in rows]


def _refuse_other(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder of other settings."""
    held = _held(folder)
    if held is not None:
        if held != settings:
            raise DataError(f"{folder} holds a benchmark of other settings; choose another folder or remove it.")
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty and holds no benchmark; choose another folder.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / "settings.json", json.dumps(settings))


def _held(folder: Path) -> dict[str, Any] | None:
    """A folder's settings; settings.json marks one whose motions.json is not written yet."""
    if (folder / "motions.json").exists():
        return dict(_read(folder)["settings"])
    mark = folder / "settings.json"
    return dict(json.loads(mark.read_text("utf-8"))) if mark.exists() else None
