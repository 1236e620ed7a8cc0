"""Queries in other languages: what is said of them, and that English and names are left alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cli_world
from reelseek.index.language import ENGLISH, WORDS, knows_english_alone, language_of, note_for, note_of
from reelseek.index.query import Query


def method(name: str) -> SimpleNamespace:
    return SimpleNamespace(backbone=SimpleNamespace(name=name))


@pytest.mark.parametrize(
    ("query", "language"),
    [
        ("ein Hund läuft am Strand", "German"), ("un chien court sur la plage", "French"),
        ("un perro corre en la calle", "Spanish"), ("il cane corre sulla spiaggia", "Italian"),
        ("um cachorro corre na praia", "Portuguese"), ("een hond rent op het strand", "Dutch"),
        ("en hund springer på stranden", "Swedish"), ("pies biegnie na plaży", "Polish"),
        ("bir köpek koşuyor", "Turkish"), ("собака бежит", "Cyrillic"), ("狗在海滩上奔跑", "Chinese"),
        ("犬がはまべをはしる", "Japanese"), ("كلب يركض", "Arabic"), ("개가 달린다", "Korean"),
        ("hund a\u0308", ""), ("\u16a0\u16a2\u16a6", "foreign"),
    ],
)  # fmt: skip
def test_languages(query: str, language: str) -> None:
    assert language_of(query) == language


@pytest.mark.parametrize(
    "query",
    [
        "a dog runs on a beach", "los angeles at night", "la la land dance", "rio de janeiro carnival",
        "van gogh painting", "Das Boot", "La Casa de Papel", "El Camino de Santiago", "crème brûlée recipe",
        "pico de gallo", "東京 tower at night", "a man in the café de flore", "α-helix", "5 µm", "", "...", "🎬🎬",
        "12:30", "the sign says un perro en la calle",
    ],
)  # fmt: skip
def test_english_and_names_are_left_alone(query: str) -> None:
    assert language_of(query) == ""


@given(st.text())
def test_any_text_has_an_answer(query: str) -> None:
    assert language_of(query) in {"", "foreign", *WORDS} | set(re.findall(r"[A-Z][a-z]+", str(list(_scripts()))))


def _scripts() -> list[str]:
    from reelseek.index.language import SCRIPTS

    return list(SCRIPTS.values())


def test_no_word_counts_as_english_and_as_foreign() -> None:
    for words in WORDS.values():
        assert not words & ENGLISH
        assert all(word == word.lower() for word in words)


def test_only_models_of_english_get_a_note() -> None:
    for name in ("offline", "openai/clip-vit-base-patch32", "google/siglip-base-patch16-224"):
        assert knows_english_alone(method(name))
        assert note_for("собака бежит", method(name)).startswith("The query looks Cyrillic")
        assert note_for("a dog", method(name)) == ""
    for name in ("google/siglip-base-patch16-256-multilingual", "google/siglip2-base-patch16-224", "unheard of"):
        assert note_for("собака бежит", method(name)) == ""
    assert note_for("собака бежит", SimpleNamespace()) == ""


def test_every_text_of_a_query_is_looked_at() -> None:
    assert note_of(Query("a dog", then="собака бежит"), method("offline"))
    assert "subtitles are searched for its words" in note_of(Query("собака бежит"), method("offline"), spoken=True)
    unwanted = note_of(Query("a dog", without=("собака бежит",)), method("offline"), spoken=True)
    assert unwanted.endswith("expect noise, and ask in English.")
    assert note_of(Query("a dog"), method("offline"), spoken=True) == ""
    assert note_of(Query(image=Path("собака.jpg")), method("offline")) == ""


def test_the_command(tmp_path: Path) -> None:
    films, index = cli_world.films(tmp_path / "films"), tmp_path / "i"
    assert cli_world.run("index", films, "--index", index).code == 0
    said = cli_world.run("search", "ein rotes Haus", "--index", index, "-k", 1)
    assert "looks German" in said.out.splitlines()[1]
    record = json.loads(cli_world.run("search", "ein rotes Haus", "--index", index, "-k", 1, "--json").out)
    assert "looks German" in record["note"]
    plain = cli_world.run("search", "a red house", "--index", index, "-k", 1, "--json")
    assert "note" not in json.loads(plain.out)
