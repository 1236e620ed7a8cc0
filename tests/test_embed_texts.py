"""Texts with tokens, masks and streams: cached equals fresh, blocks equal the whole, rows go together everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import WIDTH, FakeMethod
from reelseek.config import SampleConfig
from reelseek.data.pairs import Pairs
from reelseek.embed import embed_pairs, embed_texts, join_texts
from reelseek.evaluation import project_in_blocks
from reelseek.recipes.run import feature_batch
from reelseek.records import Scores, Texts, Videos
from reelseek.score.blocks import score_in_blocks

CAPTIONS = ["red", "red and blue", "green", "a long one about blue things", "red", "blue"]


def wordy(captions: Sequence[str]) -> Texts:
    """A token a word, counted with holes: every third word is masked. NaN where nothing stands."""
    longest = max(len(caption.split()) for caption in captions) + 1
    tokens_TLD = torch.full((len(captions), longest, WIDTH), float("nan"))
    mask_TL = torch.zeros(len(captions), longest, dtype=torch.bool)
    pooled_TD = torch.zeros(len(captions), WIDTH)
    for row, caption in enumerate(captions):
        for place, word in enumerate(["<start>", *caption.split()]):
            tokens_TLD[row, place] = torch.arange(WIDTH) + sum(map(ord, word))
            mask_TL[row, place] = place % 3 != 2
        pooled_TD[row] = tokens_TLD[row][mask_TL[row]].mean(0)
    return Texts(pooled_TD, tokens_TLD.masked_fill(~mask_TL[:, :, None], 0), mask_TL)


class WordyMethod(FakeMethod):
    """A fake with tokens, and two streams one of which has tokens too. Its score looks at all of them."""

    text_id = "wordy"

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def read_ahead(self, captions: Sequence[str], cache: Path) -> None:
        self.read += captions

    def encode_texts(self, captions: Sequence[str]) -> Texts:
        colours = super().encode_texts(captions)
        nouns = wordy([caption.upper() for caption in captions])
        return wordy(captions)._replace(pooled_TD=colours.pooled_TD, streams={"nouns": nouns, "verbs": colours})

    def score(self, texts: Texts, videos: Videos) -> Scores:
        words_T = torch.stack([tensor.float().flatten(1).nan_to_num().square().sum(1) for tensor in tensors_of(texts)])
        return Scores(super().score(texts, videos).matrix_TV + words_T.sum(0)[:, None].log())


def tensors_of(texts: Texts) -> Iterator[Tensor]:
    found: list[Tensor] = []
    texts.each(lambda tensor: (found.append(tensor), tensor)[1])
    return iter(found)


def assert_same(one: Texts, other: Texts) -> None:
    assert list(one.streams or {}) == list(other.streams or {})
    pairs = list(zip(tensors_of(one), tensors_of(other), strict=True))
    assert len(pairs) in (3, 7)
    for left, right in pairs:
        torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize("chunk", [2, 100])
def test_cached_equals_fresh_with_all_parts(tmp_path: Path, chunk: int) -> None:
    fresh = embed_texts(WordyMethod(), CAPTIONS)
    first, again = WordyMethod(), WordyMethod()
    assert_same(embed_texts(first, CAPTIONS, cache=tmp_path, chunk=chunk), fresh)
    assert first.read == list(dict.fromkeys(CAPTIONS))
    assert_same(embed_texts(again, CAPTIONS, cache=tmp_path, chunk=chunk), fresh)
    assert again.texts_encoded == len(again.read) == 0
    assert_same(fresh, WordyMethod().encode_texts(CAPTIONS))


def test_texts_of_one_tower_made_otherwise_are_other_entries(tmp_path: Path) -> None:
    embed_texts(WordyMethod(), CAPTIONS, cache=tmp_path)
    assert embed_texts(FakeMethod(), CAPTIONS, cache=tmp_path).tokens_TLD is None


def test_padding_takes_no_room_on_the_disk(tmp_path: Path) -> None:
    embed_texts(WordyMethod(), ["red", *(f"{number}" for number in range(100))], cache=tmp_path)
    (short,) = tmp_path.rglob("*.safetensors")
    size = short.stat().st_size
    short.unlink()
    embed_texts(WordyMethod(), ["red" + " word" * 99, *(f"{number}" for number in range(100))], cache=tmp_path)
    (long,) = tmp_path.rglob("*.safetensors")
    assert long.stat().st_size < 2 * size + 2 * 100 * WIDTH * 4


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    fresh = embed_texts(WordyMethod(), CAPTIONS, cache=tmp_path)
    (entry,) = tmp_path.rglob("*.safetensors")
    entry.write_bytes(entry.read_bytes()[:-9])
    assert_same(embed_texts(WordyMethod(), CAPTIONS, cache=tmp_path), fresh)


def test_joined_parts_are_the_whole() -> None:
    whole = wordy(CAPTIONS)
    assert_same(join_texts([wordy(CAPTIONS[:1]), wordy(CAPTIONS[1:3]), wordy(CAPTIONS[3:])]), whole)
    with pytest.raises(ValueError, match="no text"):
        join_texts([])


def split(folder: Path) -> Pairs:
    return Pairs(
        name="colours test",
        texts=tuple(CAPTIONS),
        text_ids=tuple(f"t{n}" for n in range(len(CAPTIONS))),
        video_of_T=np.array([0, 0, 1, 2, 0, 2]),
        video_ids=("red", "green", "blue"),
        paths=tuple(folder / f"{name}.mp4" for name in ("red", "green", "blue")),
    )


def test_captions_of_broken_files_go_with_all_their_parts(colours: Path) -> None:
    (colours / "green.mp4").write_bytes(b"")
    embedded = embed_pairs(WordyMethod(), split(colours), SampleConfig(frames=2))
    left = [caption for caption in CAPTIONS if caption != "green"]
    assert list(embedded.pairs.texts) == left
    assert_same(embedded.texts, WordyMethod().encode_texts(left))


def test_a_training_batch_has_all_parts_of_its_captions(colours: Path) -> None:
    embedded = embed_pairs(WordyMethod(), split(colours), SampleConfig(frames=2))
    rows = np.array([3, 0, 2])
    batch = feature_batch(embedded, rows)
    assert_same(batch.texts, embedded.texts.each(itemgetter(torch.from_numpy(rows))))
    assert torch.equal(batch.videos.frames_VFD, embedded.videos.frames_VFD[[2, 0, 1]])


@pytest.mark.parametrize("block", [1, 4, 100])
def test_blocks_equal_the_whole(block: int) -> None:
    method = WordyMethod()
    texts, videos = method.encode_texts(CAPTIONS), Videos(torch.randn(5, 3, WIDTH), torch.ones(5, 3) > 0)
    projected = project_in_blocks(method, texts, videos, block=block)
    assert_same(projected[0], texts)
    found_TV = score_in_blocks(method, *projected, block=block)
    torch.testing.assert_close(found_TV, method.score(texts, videos).matrix_TV, rtol=0, atol=1e-6)
