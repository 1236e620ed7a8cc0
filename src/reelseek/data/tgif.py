"""TGIF (Li et al. 2016): animated GIFs and their sentences.

Read anywhere below one folder:
  tgif-v1.0.tsv: a line a sentence, URL TAB sentence, no header, quotes as they are;
  train.txt, val.txt, test.txt: URLs, one a line;
  the GIFs under the last part of their URLs, or under that name with another video ending.
Published counts are 79,451 / 10,651 / 11,310 GIFs. They are unconfirmed here, and no count of test sentences is at
hand, so no test is labelled standard. Tested on miniatures in these formats.
"""

from __future__ import annotations

from collections import Counter
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

    URLs of one folder and name are one GIF, whatever their host. Names under which the lists have several GIFs, and
    sentences of other GIFs of a listed name, are left out and counted. A part for learning of which no GIF is on disk
    is None. Raises DataError for absent or damaged files, lists that share GIFs, or no test GIF.
    """
    files = Files("TGIF", root, gifs=True)
    path = files.path(SENTENCES)
    listed = {part: files.lines(f"{part}.txt") for part in PUBLISHED}
    gifs: dict[str, set[str]] = {}
    for url in (url for urls in listed.values() for url in urls):
        gifs.setdefault(_name(url), set()).add(_gif(url))
    captions: list[tuple[str, str]] = []
    others: Counter[str] = Counter()
    sentences: Counter[str] = Counter()
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        url, tab, sentence = line.partition("\t")
        if not tab:
            raise DataError(f"{path}: line {number} has no tab between URL and sentence: {line[:80]!r}.")
        name = _name(url)
        if _gif(url) in gifs.get(name, ()):
            captions.append((name, sentence.strip()))
            sentences[_gif(url)] += 1
        else:
            others[name] += name in gifs
    shared = {name for name, found in gifs.items() if len(found) > 1}
    lists = {part: tuple(name for name in map(_name, urls) if name not in shared) for part, urls in listed.items()}
    notes, dropped = listed_notes(lists, PUBLISHED), {}
    for part, urls in listed.items():
        left = {_gif(url): _name(url) for url in urls if _name(url) in shared}
        lost, other = sum(sentences[gif] for gif in left), sum(others[name] for name in set(map(_name, urls)))
        names = len(set(left.values()))
        notes[part] += [f"{names:,} names left out that are of several GIFs, and {lost:,} sentences"] if left else []
        notes[part] += [f"dropped {other:,} sentences of other GIFs under a listed name"] if other else []
        dropped[part] = lost + other
    return files.splits("tgif", lists, numbered(captions), corpus=CORPUS, standard=None, notes=notes, dropped=dropped)


def _gif(url: str) -> str:
    """What tells a GIF from others: its name and the folder before it, which Tumblr calls by a hash, on any host."""
    return "/".join(url.strip().rstrip("/").split("/")[-2:])


def _name(url: str) -> str:
    return without_ending(url.strip().rstrip("/").rpartition("/")[2])
