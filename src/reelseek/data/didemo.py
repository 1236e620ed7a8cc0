"""DiDeMo (Hendricks et al. 2017) as paragraph-to-video retrieval: all descriptions of a video joined are its one text.

Read anywhere below one folder:
  train_data.json, val_data.json, test_data.json: lists of {"video": file name, "description", "times", ...};
  train_list.txt, val_list.txt, test_list.txt: file names with their endings, one a line;
  the videos under those names, or with another ending.
The 2017 annotation names some videos twice, with two endings, and splits their descriptions between the names; a list
keeps one of them. Where a list is absent both count, and the test split is not the published one. The first 31 seconds
of a file stand for the video, since annotation saw 30.
Checked against the real test annotation; train and val on miniatures in these formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reelseek.config import DataConfig
from reelseek.data.files import Caption, Files, Place, paragraph, read_json
from reelseek.data.pairs import Splits, Standard
from reelseek.errors import DataError

CORPUS = "didemo"
TEST = Standard("DiDeMo test, paragraphs", videos=1004, texts=1004)
PUBLISHED = {"train": 8395, "val": 1065, "test": 1004}
SECONDS = 31.0


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The splits below `data.root`."""
    return load_didemo(config.root)


def load_didemo(root: str | Path) -> Splits:
    """About 8,395 / 1,065 / 1,004 videos (published counts differ by a few), each with one paragraph.

    A video id is the file name without its ending. A part for learning of which no video is on disk is None.
    Raises DataError for absent or damaged files, lists that share videos, or no test video.
    """
    files = Files("DiDeMo", root)
    lists: dict[str, tuple[str, ...]] = {}
    notes: dict[str, list[str]] = {}
    names: dict[str, list[str]] = {}
    captions: list[Caption] = []
    for part, count in PUBLISHED.items():
        described = _descriptions(files.path(f"{part}_data.json"))
        has_list = f"{part}_list.txt" in files.named
        listed = files.lines(f"{part}_list.txt") if has_list else tuple(described)
        kept = _by_video({name: described[name] for name in dict.fromkeys(listed) if name in described})
        for name in listed:
            names.setdefault(_id(name), []).append(name)
        captions += [Caption(video, video, text) for video, text in kept.items()]
        lists[part] = tuple(map(_id, listed)) if has_list else tuple(kept)
        notes[part] = [f"{len(set(lists[part])):,} of {count:,} videos listed"]
        if not has_list:
            notes[part].append(f"no {part}_list.txt: every name of the annotation counts, not the published list")

    def find(video: str) -> Place | None:
        # Listed files may have an ending that no player knows, or a second one after being converted.
        for name in (video, *names[video]):
            path = files.named.get(name) or files.videos.get(name)
            if path is not None:
                return Place(path, (0.0, SECONDS))
        return None

    listed_test = "test_list.txt" in files.named
    name = "didemo paragraph" if listed_test else "didemo unlisted paragraph"
    standard = TEST if listed_test else None
    return files.splits(name, lists, captions, corpus=CORPUS, standard=standard, notes=notes, find=find)


def _id(name: str) -> str:
    """A file name without its ending, which may be an empty one after a dot."""
    return name.rpartition(".")[0] or name


def _by_video(described: Mapping[str, list[tuple[int, str]]]) -> dict[str, str]:
    """Video id to paragraph, its sentences in the order of the file."""
    sentences: dict[str, list[tuple[int, str]]] = {}
    for name, mine in described.items():
        sentences.setdefault(_id(name), []).extend(mine)
    return {video: paragraph(text for _, text in sorted(mine)) for video, mine in sentences.items()}


def _descriptions(path: Path) -> dict[str, list[tuple[int, str]]]:
    """File name to its descriptions with their places in the annotation."""
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path}: is not a list of descriptions.")
    described: dict[str, list[tuple[int, str]]] = {}
    for place, row in enumerate(content):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("video", "description")):
            raise DataError(f"{path}: a row without video and description: {str(row)[:80]}.")
        described.setdefault(row["video"], []).append((place, row["description"]))
    return described
