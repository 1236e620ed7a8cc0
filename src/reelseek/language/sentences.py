"""Entity and action sentences of captions, after CAMoE (Cheng et al. 2021, arXiv 2109.04290).

Confirmed: nouns make the entity sentence and verbs the action sentence; three ways were compared, and MUW was chosen.
Reconstructed from their names, since the paper's text and code were not at hand:

* "rkw", remain key words: a text of the key words alone, joined by spaces. Words of a long caption that the tower would
  not have read come into its reach so.
* "akwe", average key word embeddings: the mean of the whole sentence's token vectors at the key words, sub-words
  included. No other pass through the tower.
* "muw", mask unrelated words: the whole sentence, where only key words and special tokens can be attended to. Every
  word keeps its place.

A caption without a noun (verb), or for the last two with none among the tokens that the tower reads, gives its whole
sentence to the entity (action) stream. Shapes: T texts, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from reelseek.language.words import key_words, tagger_id
from reelseek.records import Texts

WORDS_OF = {"entity": "nouns", "action": "verbs"}
"""Stream -> its field of `reelseek.language.words.KeyWords`."""

Spans = Sequence[tuple[int, int]]
TokenSpans = Callable[[Sequence[str]], Sequence[Spans]]


class Encode(Protocol):
    """A text tower, with or without gradients: `records.Backbone.encode_texts`."""

    def __call__(self, captions: Sequence[str], *, keep: Sequence[Spans] | None = None) -> Texts:
        """Sentence and token vectors."""
        ...


class Sentences(NamedTuple):
    """Which sentences are made besides the whole one, and how. streams: some of "entity" and "action"."""

    strategy: Literal["muw", "rkw", "akwe"]
    streams: tuple[str, ...] = ("entity", "action")

    @property
    def id(self) -> str:
        """What the sentences depend on besides the tower, the tagger's version included: part of a cache key."""
        return f"{self.strategy}-{'+'.join(self.streams)}-{tagger_id()}"


def stream_texts(
    sentences: Sentences, captions: Sequence[str], whole: Texts, *, encode: Encode, token_spans: TokenSpans
) -> dict[str, Texts]:
    """The sentences of every stream, each as Texts: sentence vectors, and token vectors with the mask of what counts.

    whole: what `encode` makes of the captions. token_spans: `records.Backbone.token_spans`. Has gradients if they do.
    """
    found = key_words(captions)
    words = {stream: [getattr(each, WORDS_OF[stream]) for each in found] for stream in sentences.streams}
    if sentences.strategy == "rkw":
        return {stream: encode(_remaining(captions, spans_T)) for stream, spans_T in words.items()}
    tokens_T = token_spans(captions)
    if sentences.strategy == "akwe":
        return {stream: _averaged(whole, _at_words(tokens_T, spans_T)) for stream, spans_T in words.items()}
    return {stream: encode(captions, keep=_kept(captions, tokens_T, spans_T)) for stream, spans_T in words.items()}


def kept_words(sentences: Sentences, caption: str, *, token_spans: TokenSpans) -> dict[str, Spans]:
    """The characters that each stream's sentence of one caption is made of; the whole caption where it has no key word.

    Raises ModelError as `reelseek.language.words.key_words` does.
    """
    (found,) = key_words([caption])
    kept = {}
    for stream in sentences.streams:
        spans: Spans = getattr(found, WORDS_OF[stream])
        if sentences.strategy == "rkw":
            kept[stream] = spans or [(0, len(caption))]
        else:
            kept[stream] = _kept([caption], token_spans([caption]), [spans])[0]
    return kept


def _remaining(captions: Sequence[str], spans_T: Sequence[Spans]) -> list[str]:
    return [
        " ".join(caption[start:end] for start, end in spans) or caption
        for caption, spans in zip(captions, spans_T, strict=True)
    ]


def _kept(captions: Sequence[str], tokens_T: Sequence[Spans], spans_T: Sequence[Spans]) -> list[Spans]:
    """Key words that the tower reads, or the whole caption where there is none."""
    return [
        spans if any(hits) else [(0, len(caption))]
        for caption, spans, hits in zip(captions, spans_T, _at_words(tokens_T, spans_T), strict=True)
    ]


def _at_words(tokens_T: Sequence[Spans], spans_T: Sequence[Spans]) -> list[list[bool]]:
    """For every token of every caption whether it shares a character with a key word."""
    return [
        [any(first < end and start < last for start, end in spans) for first, last in tokens]
        for tokens, spans in zip(tokens_T, spans_T, strict=True)
    ]


def _averaged(whole: Texts, hits_T: Sequence[Sequence[bool]]) -> Texts:
    if whole.tokens_TLD is None or whole.mask_TL is None:
        raise ValueError('sentences "akwe" need a text tower with token vectors.')
    hits_TL = torch.zeros(whole.mask_TL.shape, dtype=torch.bool)
    for row, hits in enumerate(hits_T):
        hits_TL[row, : len(hits)] = torch.tensor(hits, dtype=torch.bool)
    hits_TL = hits_TL.to(whole.mask_TL.device)
    found_T1 = hits_TL.any(dim=1, keepdim=True)
    weights_TL = hits_TL.to(whole.tokens_TLD.dtype)
    # A padded token may hold anything; where no token is hit, the sum of nothing is not looked at.
    sum_TD = (whole.tokens_TLD.masked_fill(~hits_TL[:, :, None], 0)).sum(dim=1)
    mean_TD: Tensor = sum_TD / weights_TL.sum(dim=1, keepdim=True).clamp_min(1)
    return Texts(
        torch.where(found_T1, mean_TD, whole.pooled_TD),
        whole.tokens_TLD,
        torch.where(found_T1, hits_TL, whole.mask_TL),
    )
