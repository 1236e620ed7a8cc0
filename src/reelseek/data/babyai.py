"""A generated benchmark of scripted episodes: short videos of BabyAI's bot, each with its mission as the caption.

The missions are sentences of the BabyAI language, not of ours. Ordered ones ("go to X after you pick up Y") come with a
twin: the same room with the two parts exchanged. Episodes with the same mission, or with one that implies it, are true
matches of each other's captions, which `Pairs.extra_relevance` marks.
Not here: playing (babyai_episodes), what missions mean (babyai_missions). Shapes: T texts, V videos.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from reelseek.config import DataConfig
from reelseek.data import user_folder
from reelseek.data.babyai_missions import Mission, from_json, true_pairs
from reelseek.data.pairs import Pairs, Splits
from reelseek.data.writing import remove_leftovers, replace_text, write_video
from reelseek.errors import DataError

VERSION = 1
SPLITS = ("train", "val", "test")
SHARES = {"goto": 1, "pickup": 1, "putnext": 2, "both": 2, "order": 3}
"""How often each level is drawn; a draw of "order" gives two videos."""
REPEATS = 3
"""Videos of one mission in a split."""
TRIES = 10_000
FPS = 4


class _Video(NamedTuple):
    id: str
    split: str
    words: str
    meaning: Mission
    twin: str


def generate(
    folder: str | Path,
    *,
    train: int = 500,
    val: int = 100,
    test: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Splits:
    """Play and film the episodes into a folder, or finish what an earlier call began, and load it.

    Writes videos/*.mp4 (128 x 128 pixels, 4 frames a second), episodes.jsonl (a line a draw), babyai.json (settings).
    Equal settings give equal missions and frames; no split depends on the size of another. progress: called with
    (videos done, videos in all) after each. Raises DataError if the folder holds something else, or minigrid is not
    installed; ValueError for an empty split.
    """
    folder = Path(folder)
    sizes = {"train": train, "val": val, "test": test}
    if min(sizes.values()) < 1:
        raise ValueError(f"every split needs at least one video, got train={train}, val={val}, test={test}")
    _claim(folder, {"version": VERSION, **sizes, "seed": seed})
    rows = _rows(folder)
    done, total = sum(len(row["videos"]) for row in rows), sum(sizes.values())
    if done >= total:
        return load(folder)
    (folder / "videos").mkdir(exist_ok=True)
    remove_leftovers(folder / "videos")
    _cut_unfinished_line(folder / "episodes.jsonl")
    with (folder / "episodes.jsonl").open("a", encoding="utf-8") as file:
        for split in reversed(SPLITS):
            ours = [row for row in rows if row["split"] == split]
            for row in _draws(folder, split, sizes[split], seed, ours):
                # A line is written when its videos are whole, so that a killed run goes on behind the last one.
                file.write(json.dumps(row) + "\n")
                file.flush()
                done += len(row["videos"])
                if progress is not None:
                    progress(done, total)
    return load(folder)


def from_config(config: DataConfig, progress: Callable[[int, int], None] | None) -> Splits:
    """The benchmark as settings name it; see `reelseek.data.load`."""
    train = config.size or 500
    folder = Path(config.root) if config.root else user_folder() / f"babyai-{train}-{config.seed}"
    sizes = {"train": train, "val": max(train // 5, 1), "test": max(2 * train // 5, 1)}
    if not config.size and (folder / "babyai.json").is_file():
        held = _settings(folder)
        sizes, seed = {split: held[split] for split in SPLITS}, held["seed"]
        return generate(folder, **sizes, seed=seed, progress=progress)
    return generate(folder, **sizes, seed=config.seed, progress=progress)


def load(folder: str | Path) -> Splits:
    """Read what `generate` wrote. Videos that are absent are counted as missing.

    `Pairs.contrasts["swap"]` holds the captions of ordered missions with their own video and that of the exchanged
    order. Raises DataError if the folder holds no such benchmark, or one that is not finished.
    """
    folder = Path(folder)
    settings = _settings(folder)
    videos = [
        _Video(video["id"], row["split"], video["mission"], from_json(video["meaning"]), video["twin"])
        for row in _rows(folder)
        for video in row["videos"]
    ]
    counts = Counter(video.split for video in videos)
    short = [split for split in SPLITS if counts[split] != settings[split]]
    if short:
        raise DataError(
            f"{folder}: the {short[0]} split has {counts[short[0]]:,} of {settings[short[0]]:,} videos; a run that "
            "made it was stopped, make it again with the same settings to finish it."
        )
    learnt = {video.meaning for video in videos if video.split == "train"}
    corpus = "-".join(["babyai", *(str(settings[key]) for key in ("version", "seed", *SPLITS))])
    return Splits(*(_pairs(folder, split, corpus, videos, learnt) for split in SPLITS))


def _draws(folder: Path, split: str, size: int, seed: int, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows that a split still lacks, each given out when its videos are on disk."""
    made = sum(len(row["videos"]) for row in rows)
    if made >= size:
        return
    try:
        from reelseek.data.babyai_episodes import play
    except ModuleNotFoundError as error:
        raise DataError(f'The episodes are played by minigrid: pip install "reelseek[babyai]" ({error}).') from error
    shown = Counter(from_json(video["meaning"]) for row in rows for video in row["videos"])
    draw = last = rows[-1]["draw"] if rows else -1
    while made < size:
        draw += 1
        if draw - last > TRIES:
            raise DataError(f"{folder}: no new mission for {split} in {TRIES:,} draws; ask for fewer videos.")
        rng = Random(f"{seed}:{split}:{draw}")
        level, room = rng.choices(list(SHARES), list(SHARES.values()))[0], rng.getrandbits(31)
        episodes = [play(level, room)]
        if level == "order" and episodes[0] is not None and size - made > 1:
            episodes.append(play(level, room, swapped=True))
        kept = [episode for episode in episodes if episode is not None and shown[episode.meaning] < REPEATS]
        if len(kept) < len(episodes) or (
            len(kept) == 2 and len(true_pairs([one.meaning for one in kept], [one.meaning for one in kept])) > 2
        ):
            continue
        ids = [f"{split}{made + at:05d}" for at in range(len(kept))]
        videos = []
        for at, episode in enumerate(kept):
            write_video(episode.frames_FHW3, folder / "videos" / f"{ids[at]}.mp4", fps=FPS, group=2 * FPS)
            shown[episode.meaning] += 1
            twin = ids[1 - at] if len(ids) == 2 else ""
            videos.append({"id": ids[at], "mission": episode.words, "meaning": episode.meaning, "twin": twin})
        made, last = made + len(kept), draw
        yield {"split": split, "draw": draw, "level": level, "videos": videos}


def _pairs(folder: Path, split: str, corpus: str, videos: list[_Video], learnt: set[Mission]) -> Pairs:
    ours = [video for video in videos if video.split == split]
    found = [video for video in ours if _file(folder, video).is_file()]
    position = {video.id: at for at, video in enumerate(found)}
    meanings = [video.meaning for video in found]
    swaps = tuple((at, at, position[video.twin]) for at, video in enumerate(found) if video.twin in position)
    known = sum(meaning in learnt for meaning in meanings)
    return Pairs(
        name=f"babyai {split}",
        texts=tuple(video.words for video in found),
        text_ids=tuple(video.id for video in found),
        video_of_T=np.arange(len(found)),
        video_ids=tuple(video.id for video in found),
        paths=tuple(_file(folder, video) for video in found),
        extra_relevance=tuple((text, at) for text, at in true_pairs(meanings, meanings) if text != at),
        missing_videos=tuple(video.id for video in ours if video.id not in position),
        missing_texts=len(ours) - len(found),
        corpus=corpus,
        notes=() if split == "train" else (f"{known:,} of its missions occur in training, in other rooms",),
        contrasts={"swap": swaps} if swaps else {},
    )


def _file(folder: Path, video: _Video) -> Path:
    return folder / "videos" / f"{video.id}.mp4"


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Take an empty folder for a benchmark of these settings, or refuse one that holds anything else."""
    if (folder / "babyai.json").is_file():
        if _settings(folder) != settings:
            raise DataError(f"{folder} holds episodes of other settings; choose another folder or remove it.")
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty and holds no episodes; choose another folder.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / "babyai.json", json.dumps(settings))


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "babyai.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no episodes (no babyai.json); make them with babyai.generate.")
    try:
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}); remove the folder and generate again.") from error
    if settings.get("version") != VERSION:
        raise DataError(f"{path} was written by another version of the generator; generate into a new folder.")
    return settings


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The draws on record, in order; a last line that a killed run left unfinished is no record.

    Two runs at once write the same lines twice, since all is drawn from the seed.
    """
    path = folder / "episodes.jsonl"
    if not path.is_file():
        return []
    whole, _, _ = path.read_text("utf-8").rpartition("\n")
    try:
        rows = [json.loads(line) for line in whole.split("\n") if line]
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is damaged ({error}); remove the folder and generate again.") from error
    once = {(row["split"], row["draw"]): row for row in rows}
    return [once[key] for key in sorted(once)]


def _cut_unfinished_line(path: Path) -> None:
    text = path.read_text("utf-8") if path.is_file() else ""
    if text and not text.endswith("\n"):
        replace_text(path, text[: text.rfind("\n") + 1])
