"""TGIF (Li et al. 2016): animated GIFs and their sentences.

Read anywhere below one folder:
  tgif-v1.0.tsv: a line a sentence, URL TAB sentence, no header, quotes as they are;
  train.txt, val.txt, test.txt: URLs, one a line;
  the GIFs under the last part of their URLs, or under that name with another video ending.
Published counts are 79,451 / 10,651 / 11,310 GIFs. They are unconfirmed here, and no count of test sentences is at
hand, so no test is labelled standard. Tested on miniatures in these formats.
"""

from __future__ import annotations

from pathlib import Path

from reelseek.config import DataConfig
from reelseek.data.files import Files, listed_notes, numbered, read_text, without_ending
from reelseek.data.pairs import Splits
from reelseek.errors import DataError

CORPUS = "tgif"
SENTENCES = "tgif-v1.0.tsv"
PUBLISHED = {"train": 79451, "val": 10651, "test": 11310}


def from_config(config: DataConfig, _progress: object) -> Splits:
    """The splits below `data.root`."""
    return load_tgif(config.root)


def load_tgif(root: str | Path) -> Splits:
    """The three splits, each GIF with one sentence or more; a video id is the GIF's name without its ending.

    A part for learning of which no GIF is on disk is None.
    Raises DataError for absent or damaged files, lists that share GIFs, two URLs of one name, or no test GIF.
    """
    files = Files("TGIF", root)
    path = files.path(SENTENCES)
    urls: dict[str, str] = {}
    captions = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        url, tab, sentence = line.partition("\t")
        if not tab:
            raise DataError(f"{path}: line {number} has no tab between URL and sentence: {line[:80]!r}.")
        name = _name(url)
        if urls.setdefault(name, url.strip()) != url.strip():
            raise DataError(f"{path}: line {number}: {url.strip()!r} and {urls[name]!r} have the same file name.")
        captions.append((name, sentence.strip()))
    lists = {part: tuple(map(_name, files.lines(f"{part}.txt"))) for part in PUBLISHED}
    return files.splits(
        "tgif",
        lists,
        numbered(captions),
        corpus=CORPUS,
        standard=None,
        notes=listed_notes(lists, PUBLISHED),
    )


def _name(url: str) -> str:
    return without_ending(url.strip().rstrip("/").rpartition("/")[2])
