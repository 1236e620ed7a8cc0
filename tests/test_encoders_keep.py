"""Texts with words left out: the towers must read them as if those words were not there, the others in their places."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reelseek.encoders.clip import ClipBackbone, load_clip
from reelseek.encoders.offline import OfflineBackbone
from reelseek.encoders.spans import kept_tokens
from reelseek.errors import ModelError
from test_encoders_clip import tiny_folder

CAPTIONS = ["a dog runs the ball", "the red cat sleeps", "ball"]
KEEP = [[(2, 5), (15, 19)], [(8, 11)], []]
"""dog and ball; cat; nothing."""


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClipBackbone | OfflineBackbone]:
    made = {kind: load_clip(tiny_folder(tmp_path_factory.mktemp(kind), kind)) for kind in ("clip", "siglip")}
    return {**made, "offline": OfflineBackbone()}


@pytest.fixture(params=["clip", "siglip", "offline"])
def backbone(request: pytest.FixtureRequest, towers: dict) -> ClipBackbone | OfflineBackbone:
    return towers[request.param]


@pytest.fixture(params=["clip", "siglip"])
def clip(request: pytest.FixtureRequest, towers: dict) -> ClipBackbone:
    return towers[request.param]


@pytest.fixture
def offline(towers: dict) -> OfflineBackbone:
    return towers["offline"]


def everything() -> list[list[tuple[int, int]]]:
    return [[(0, len(caption))] for caption in CAPTIONS]


def test_all_kept_is_the_plain_text(backbone: ClipBackbone | OfflineBackbone) -> None:
    plain, kept = backbone.encode_texts(CAPTIONS), backbone.encode_texts(CAPTIONS, keep=everything())
    torch.testing.assert_close(plain.pooled_TD, kept.pooled_TD, atol=1e-6, rtol=0)
    assert torch.equal(plain.mask_TL, kept.mask_TL)


def test_token_spans_are_the_words_and_special_tokens_have_none(backbone: ClipBackbone | OfflineBackbone) -> None:
    texts = backbone.encode_texts(CAPTIONS)
    for caption, spans, mask_L in zip(CAPTIONS, backbone.token_spans(CAPTIONS), texts.mask_TL, strict=True):
        assert len(spans) == mask_L.sum()
        assert [caption[a:b] for a, b in spans if a < b] == caption.split()
        assert spans[-1] == (0, 0)


def test_the_mask_is_true_where_words_are_kept_and_at_special_tokens(backbone: ClipBackbone | OfflineBackbone) -> None:
    mask_TL = backbone.encode_texts(CAPTIONS, keep=KEEP).mask_TL
    for row, (caption, spans) in enumerate(zip(CAPTIONS, backbone.token_spans(CAPTIONS), strict=True)):
        wanted = [a == b or caption[a:b] in (["dog", "ball"], ["cat"], [])[row] for a, b in spans]
        assert mask_TL[row, : len(spans)].tolist() == wanted
        assert not mask_TL[row, len(spans) :].any()


def test_words_that_are_left_out_change_nothing_but_by_their_number(
    backbone: ClipBackbone | OfflineBackbone,
) -> None:
    others = ["the dog sleeps a ball", "a a cat runs", "dog"]
    one, other = (
        backbone.encode_texts(CAPTIONS, keep=KEEP),
        backbone.encode_texts(others, keep=[[(4, 7), (17, 21)], [(4, 7)], []]),
    )
    torch.testing.assert_close(one.pooled_TD, other.pooled_TD, atol=1e-6, rtol=0)
    real_TL = one.mask_TL
    torch.testing.assert_close(one.tokens_TLD[real_TL], other.tokens_TLD[real_TL], atol=1e-6, rtol=0)
    assert not torch.allclose(backbone.encode_texts(CAPTIONS).pooled_TD, backbone.encode_texts(others).pooled_TD)


def without_masked(backbone: ClipBackbone, caption: str, keep: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Sentence and token vectors of a caption whose other tokens are cut out, the rest told their old places."""
    ids_TL, _ = backbone.tokenize([caption])
    kept_L = backbone.kept_tokens([caption], [keep], ids_TL.shape[1])[0]
    places_L = torch.arange(ids_TL.shape[1])[kept_L]
    with torch.no_grad():
        output = backbone.model.get_text_features(input_ids=ids_TL[:, kept_L], position_ids=places_L[None])
        last = backbone.model.text_projection if backbone.name == "clip" else backbone.model.text_model.head
        return output.pooler_output[0], last(output.last_hidden_state)[0]


def test_masked_equals_cut_out_with_places_kept(clip: ClipBackbone) -> None:
    found = clip.encode_texts(CAPTIONS, keep=KEEP)
    for row, (caption, keep) in enumerate(zip(CAPTIONS, KEEP, strict=True)):
        pooled_D, tokens_LD = without_masked(clip, caption, keep)
        torch.testing.assert_close(found.pooled_TD[row], pooled_D, atol=1e-5, rtol=0)
        count = int(found.mask_TL[row].sum())
        torch.testing.assert_close(found.tokens_TLD[row][found.mask_TL[row]], tokens_LD[:count], atol=1e-5, rtol=0)


def test_masked_minilm_equals_cut_out_with_places_kept(offline: OfflineBackbone) -> None:
    found = offline.encode_texts(CAPTIONS, keep=KEEP)
    tower = offline.text_tower
    for row, caption in enumerate(CAPTIONS):
        ids_L = torch.tensor(offline.tokenizer.encode(caption).ids)
        places_L = found.mask_TL[row, : len(ids_L)].nonzero().flatten()
        x_1LD = tower.norm(tower.words(ids_L[places_L]) + tower.positions(places_L) + tower.kinds.weight[0])[None]
        with torch.no_grad():
            for layer in tower.layers:
                x_1LD = layer(x_1LD, torch.ones(1, len(places_L), dtype=torch.bool))
        torch.testing.assert_close(found.tokens_TLD[row, places_L], x_1LD[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(found.pooled_TD[row], F.normalize(x_1LD[0].mean(0), dim=0), atol=1e-5, rtol=0)
        assert not found.tokens_TLD[row][~found.mask_TL[row]].any()


def test_masked_in_chunks_equals_alone(backbone: ClipBackbone | OfflineBackbone) -> None:
    many, keep = CAPTIONS * 30, KEEP * 30
    together = backbone.encode_texts(many, keep=keep).pooled_TD
    alone = torch.cat(
        [backbone.encode_texts([text], keep=[k]).pooled_TD for text, k in zip(CAPTIONS, KEEP, strict=True)]
    )
    torch.testing.assert_close(together, alone.repeat(30, 1), atol=1e-5, rtol=0)


def test_the_trainable_path_masks_alike_and_has_gradients(clip: ClipBackbone) -> None:
    ids_TL, mask_TL = clip.tokenize(CAPTIONS)
    texts = clip.forward_texts(ids_TL, mask_TL, clip.kept_tokens(CAPTIONS, KEEP, ids_TL.shape[1]))
    found = clip.encode_texts(CAPTIONS, keep=KEEP)
    torch.testing.assert_close(texts.pooled_TD, found.pooled_TD, atol=1e-6, rtol=0)
    assert torch.equal(texts.mask_TL, found.mask_TL)
    texts.pooled_TD.sum().backward()
    weight = clip.model.text_model.embeddings.token_embedding.weight
    assert weight.grad[clip.tokenizer.get_vocab()["dog"]].any()
    assert not weight.grad[clip.tokenizer.get_vocab()["sleeps"]].any()
    clip.model.zero_grad()


def test_sub_words_count_with_the_word_they_are_of(offline: OfflineBackbone) -> None:
    caption = "a skateboarder jumps"
    spans = offline.token_spans([caption])[0]
    pieces = [caption[a:b] for a, b in spans if a < b]
    assert "".join(pieces) == "askateboarderjumps"
    assert len(pieces) > 3
    mask_L = offline.encode_texts([caption], keep=[[(2, 14)]]).mask_TL[0]
    assert int(mask_L.sum()) == 2 + sum(2 <= a < 14 for a, b in spans if a < b)


def test_cut_texts_have_the_spans_that_are_read(backbone: ClipBackbone | OfflineBackbone) -> None:
    caption = "dog " * 300
    texts = backbone.encode_texts([caption], keep=[[(0, 3)]])
    assert len(backbone.token_spans([caption])[0]) == texts.mask_TL.shape[1]
    assert texts.mask_TL[0, :2].any()
    special = 1 if backbone.name == "siglip" else 2
    assert int(texts.mask_TL.sum()) == 1 + special


def test_spans_for_other_captions_are_refused(backbone: ClipBackbone | OfflineBackbone) -> None:
    with pytest.raises(ValueError, match="2 captions, not for 3"):
        backbone.encode_texts(CAPTIONS, keep=[[], []])


def test_a_tokenizer_without_places_is_named(clip: ClipBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "tokenizer", object())
    with pytest.raises(ModelError, match=r"method\.sentences to rkw"):
        clip.token_spans(CAPTIONS)


def test_kept_tokens_by_characters() -> None:
    spans = [[(0, 0), (0, 2), (2, 5), (5, 6), (0, 0)], [(0, 0), (0, 3), (0, 0)]]
    found_TL = kept_tokens(spans, [[(1, 3)], [(3, 9)]], 6)
    assert found_TL.tolist() == [[True, True, True, False, True, True], [True, False, True, True, True, True]]


def test_a_tokenizer_of_clip_s_kind_tells_places(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    letters = [*"abcdefghijklmnopqrstuvwxyz'ðŁĺĢ"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[("d", "o"), ("do", "g</w>")]
    )
    caption = "A  DOG \U0001f600 ran"
    spans = tokenizer([caption], return_offsets_mapping=True)["offset_mapping"][0]
    assert [caption[a:b] for a, b in spans if a < b][:3] == ["A", "DOG", "\U0001f600"]
    assert spans[0] == spans[-1] == (0, 0)
