"""Entity and action sentences against loops, over a tower of three lines and over a small CLIP with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from torch import Tensor

from reelseek.language import sentences as made
from reelseek.language.sentences import Sentences, kept_words, stream_texts
from reelseek.language.words import KeyWords, tagger_id
from reelseek.records import Texts

Spans = Sequence[tuple[int, int]]
NOUNS, VERBS = {"dog", "ball", "cat"}, {"runs", "sleeps"}
CAPTIONS = ["a dog runs", "the red cat", "sleeps", "the red", "", "a ball and a dog and more words than are read dog"]
READ = 6
"""Words that the tower reads."""


def spans_of(caption: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for word in caption.split():
        start = caption.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


def vector(word: str) -> Tensor:
    return torch.randn(4, generator=torch.Generator().manual_seed(sum(map(ord, word))))


class Tower:
    """A start token and up to six words. A token is its own vector plus the sum of all that is kept; so is the text."""

    def __init__(self) -> None:
        self.passes = 0

    def token_spans(self, captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(0, 0), *spans_of(caption)[:READ]] for caption in captions]

    def encode_texts(self, captions: Sequence[str], *, keep: Sequence[Spans] | None = None) -> Texts:
        self.passes += 1
        tokens_TLD = torch.zeros(len(captions), READ + 1, 4)
        mask_TL = torch.zeros(len(captions), READ + 1, dtype=torch.bool)
        pooled_TD = torch.zeros(len(captions), 4)
        for row, caption in enumerate(captions):
            pieces = ["<start>"] + [caption[a:b] for a, b in spans_of(caption)[:READ]]
            real = [True] + [
                keep is None or any(a < end and start < b for start, end in keep[row])
                for a, b in spans_of(caption)[:READ]
            ]
            pooled_TD[row] = sum(vector(piece) for piece, kept in zip(pieces, real, strict=True) if kept)
            for place, piece in enumerate(pieces):
                tokens_TLD[row, place] = (place + 1) * vector(piece) + pooled_TD[row]
                mask_TL[row, place] = real[place]
        return Texts(pooled_TD, tokens_TLD, mask_TL)


@pytest.fixture(autouse=True)
def tags(monkeypatch: pytest.MonkeyPatch) -> None:
    def tag(captions: Sequence[str]) -> list[KeyWords]:
        return [
            KeyWords(*(tuple((a, b) for a, b in spans_of(caption) if caption[a:b] in kind) for kind in (NOUNS, VERBS)))
            for caption in captions
        ]

    monkeypatch.setattr(made, "key_words", tag)


def make(strategy: Literal["muw", "rkw", "akwe"], tower: Tower, captions: Sequence[str] = CAPTIONS) -> dict[str, Texts]:
    whole = tower.encode_texts(captions)
    encode, token_spans = tower.encode_texts, tower.token_spans
    return stream_texts(Sentences(strategy), captions, whole, encode=encode, token_spans=token_spans)


def by_loop(strategy: str, kind: set[str], caption: str) -> Tensor:
    """A stream's sentence vector, from the words of one caption."""
    tower = Tower()
    whole = tower.encode_texts([caption])
    all_words, read = caption.split(), caption.split()[:READ]
    if strategy == "rkw":
        return tower.encode_texts([" ".join(word for word in all_words if word in kind) or caption]).pooled_TD[0]
    hits = [place for place, word in enumerate(read, start=1) if word in kind]
    if not hits:
        return whole.pooled_TD[0]
    if strategy == "akwe":
        return sum((whole.tokens_TLD[0, place] for place in hits), torch.zeros(4)) / len(hits)
    return vector("<start>") + sum(vector(read[place - 1]) for place in hits)


@pytest.mark.parametrize("strategy", ["muw", "rkw", "akwe"])
def test_every_strategy_is_its_loop(strategy: Literal["muw", "rkw", "akwe"]) -> None:
    streams = make(strategy, Tower())
    assert list(streams) == ["entity", "action"]
    for name, kind in (("entity", NOUNS), ("action", VERBS)):
        for row, caption in enumerate(CAPTIONS):
            wanted_D = by_loop(strategy, kind, caption)
            torch.testing.assert_close(streams[name].pooled_TD[row], wanted_D, atol=1e-6, rtol=1e-6)


def test_streams_differ_from_the_whole_where_words_are_left_out() -> None:
    whole = Tower().encode_texts(CAPTIONS).pooled_TD
    for strategy in ("muw", "rkw", "akwe"):
        entity = make(strategy, Tower())["entity"].pooled_TD
        same = [torch.allclose(one, other) for one, other in zip(whole, entity, strict=True)]
        assert same == [False, False, True, True, True, False]  # from the third on: no noun


def test_key_words_beyond_what_the_tower_reads_do_not_empty_a_sentence() -> None:
    late = ["and more words than are read dog"]
    whole = Tower().encode_texts(late)
    for strategy in ("muw", "akwe"):
        entity = make(strategy, Tower(), late)["entity"]
        assert torch.equal(entity.pooled_TD, whole.pooled_TD)
        assert torch.equal(entity.mask_TL, whole.mask_TL)


def test_token_masks_say_what_counts() -> None:
    caption = ["a dog runs"]
    assert make("muw", Tower(), caption)["entity"].mask_TL.tolist()[0][:4] == [True, False, True, False]
    assert make("akwe", Tower(), caption)["entity"].mask_TL.tolist()[0][:4] == [False, False, True, False]
    assert make("rkw", Tower(), caption)["entity"].mask_TL.tolist()[0][:4] == [True, True, False, False]


def test_tokens_beside_a_key_word_are_not_part_of_it() -> None:
    """Pieces of words and punctuation stand against a word without a space."""
    caption, tokens = "a dog,ball!", [[(0, 0), (0, 1), (2, 4), (4, 5), (5, 6), (6, 10), (10, 11)]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "key_words", lambda captions: [KeyWords(((2, 5),), ((6, 10),))])
        whole = Texts(torch.zeros(1, 1), torch.arange(7.0)[None, :, None], torch.ones(1, 7, dtype=torch.bool))
        made_of = stream_texts(
            Sentences("akwe"), [caption], whole, encode=Tower().encode_texts, token_spans=lambda captions: tokens
        )
        beyond = [[(0, 0), (0, 1), (5, 6)]]
        empty = stream_texts(
            Sentences("akwe"), [caption], whole, encode=Tower().encode_texts, token_spans=lambda captions: beyond
        )
    assert made_of["entity"].mask_TL.tolist() == [[False, False, True, True, False, False, False]]
    assert made_of["action"].mask_TL.tolist() == [[False] * 5 + [True, False]]
    assert [float(made_of[stream].pooled_TD) for stream in ("entity", "action")] == [2.5, 5.0]
    assert empty["entity"].mask_TL.all()


def test_averaging_needs_no_further_pass() -> None:
    passes = {}
    for strategy in ("muw", "rkw", "akwe"):
        tower = Tower()
        make(strategy, tower)
        passes[strategy] = tower.passes
    assert passes == {"muw": 3, "rkw": 3, "akwe": 1}


def test_averaging_refuses_a_tower_without_tokens() -> None:
    whole = Texts(torch.randn(1, 4))
    with pytest.raises(ValueError, match="token vectors"):
        stream_texts(Sentences("akwe"), ["a dog"], whole, encode=Tower().encode_texts, token_spans=Tower().token_spans)


def test_only_the_streams_asked_for_are_made() -> None:
    tower = Tower()
    whole = tower.encode_texts(CAPTIONS)
    kinds = Sentences("muw", ("action",))
    found = stream_texts(kinds, CAPTIONS, whole, encode=tower.encode_texts, token_spans=tower.token_spans)
    assert list(found) == ["action"]


def test_padding_garbage_never_reaches_an_average() -> None:
    tower = Tower()
    whole = tower.encode_texts(CAPTIONS)
    dirty = whole._replace(tokens_TLD=whole.tokens_TLD.masked_fill(~whole.mask_TL[:, :, None], float("nan")))
    found = stream_texts(Sentences("akwe"), CAPTIONS, dirty, encode=tower.encode_texts, token_spans=tower.token_spans)
    assert torch.equal(found["entity"].pooled_TD, make("akwe", tower)["entity"].pooled_TD)


def test_the_cache_key_names_strategy_streams_and_tagger() -> None:
    ids = {Sentences("muw").id, Sentences("rkw").id, Sentences("muw", ("entity",)).id}
    assert len(ids) == 3
    assert all(tagger_id() in each for each in ids)


def test_kept_words_are_those_that_the_sentences_are_made_of() -> None:
    def kept(strategy: Literal["muw", "rkw", "akwe"], caption: str) -> dict[str, list[tuple[int, int]]]:
        found = kept_words(Sentences(strategy), caption, token_spans=Tower().token_spans)
        return {stream: list(spans) for stream, spans in found.items()}

    late = "and more words than are read dog"
    for strategy in ("muw", "rkw", "akwe"):
        assert kept(strategy, "a dog runs") == {"entity": [(2, 5)], "action": [(6, 10)]}
        assert kept(strategy, "the red cat") == {"entity": [(8, 11)], "action": [(0, 11)]}
        read = strategy == "rkw"
        assert kept(strategy, late)["entity"] == [(len(late) - 3 if read else 0, len(late))]
