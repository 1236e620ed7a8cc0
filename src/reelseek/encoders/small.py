"""Small towers that are trained from nothing, for videos that are like nothing the published towers saw.

A frame is cut into patches, which a few convolutions read; its vector is their largest values over all places, so that
it tells that a thing is there, not where. A text is read in byte pairs, learnt from the captions, by a transformer.
On generated episodes a first pass taught this twice as much as a CLIP of the same size, whose frames are read by
attention, in less than half of the time (LOG.md). Not here: folders (`reelseek.methods.small_folders`).
Shapes: T texts, L tokens, N frames, D width of the joint space, C channels, S side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from reelseek.encoders.identity import Identity
from reelseek.encoders.in_parts import encode_in_parts
from reelseek.encoders.minilm import batch
from reelseek.encoders.sizes import HEAD_WIDTH, Sizes, check_sizes
from reelseek.encoders.spans import Spans, kept_tokens
from reelseek.encoders.temporal import TransformerTemporal
from reelseek.records import Preprocess, Texts

END = "<end>"
_FRAMES_AT_ONCE = 256
_TEXTS_AT_ONCE = 256


class SmallBackbone(nn.Module):
    """Two towers that end in one width (see `records.Backbone`), with random weights at first.

    sizes: see `Sizes`. tokenizer: of `learn_pieces`. Frames are resized, cut to their middle square and scaled to
    [-1, 1]. Raises ConfigError for sizes that do not fit together.
    """

    name = "small"

    def __init__(self, sizes: Sizes, tokenizer: Tokenizer) -> None:
        super().__init__()
        check_sizes(sizes)
        self.sizes = sizes
        self.tokenizer = tokenizer
        self.preprocess = Preprocess(sizes.side, sizes.side, (127.5,) * 3, (127.5,) * 3)
        self.precision = "float32"
        self.text_width = self.frame_width = sizes.width
        self.frame_tower = FrameTower(sizes)
        self.text_tower = TextTower(sizes, tokenizer.get_vocab_size())
        self._identity = Identity(self.name, json.dumps([sizes, self.preprocess, tokenizer.to_str()]))

    @property
    def id(self) -> str:
        """Kind and a digest over sizes, vocabulary, preprocessing and the weights now (see `Identity`)."""
        return self._identity.of(self)

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there and outputs stay there."""
        return self.text_tower.words.weight.device

    def tokenize(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token numbers [T, L] and their mask (True = real), cut at `sizes.tokens`, on the CPU.

        ValueError for no captions at all.
        """
        if not captions:
            raise ValueError("tokenize needs at least one caption")
        return batch([encoding.ids for encoding in self.tokenizer.encode_batch(list(captions))])

    def token_spans(self, captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        """The characters (start, end) of every token of `tokenize`, by caption; (0, 0) for the end of a text."""
        return [list(encoding.offsets) for encoding in self.tokenizer.encode_batch(list(captions))]

    def kept_tokens(self, captions: Sequence[str], keep: Sequence[Spans], length: int) -> Tensor:
        """Which of the tokens of `tokenize` may be attended to, bool [T, length]: see `records.Backbone`."""
        return kept_tokens(self.token_spans(captions), keep, length)

    def forward_texts(self, ids_TL: Tensor, mask_TL: Tensor, kept_TL: Tensor | None = None) -> Texts:
        """Sentence vectors [T, D] and token vectors [T, L, D], with gradients; not of unit length.

        A sentence is the mean of its tokens. kept_TL: tokens that may be attended to, all by default; the others keep
        their places, their mask is False.
        """
        mask_TL = (mask_TL if kept_TL is None else mask_TL & kept_TL).to(self.device)
        tokens_TLD = self.text_tower(ids_TL.to(self.device), mask_TL).float()
        pooled_TD = tokens_TLD.sum(1) / mask_TL.sum(1, keepdim=True)
        return Texts(pooled_TD, tokens_TLD, mask_TL)

    def forward_frames(self, pixels_N3SS: Tensor) -> Tensor:
        """Frame vectors [N, D] of normalised pixels, with gradients; not of unit length."""
        vectors_ND: Tensor = self.frame_tower(pixels_N3SS.to(self.device)).float()
        return vectors_ND

    def encode_texts(self, captions: Sequence[str], *, keep: Sequence[Spans] | None = None) -> Texts:
        """Sentence vectors [T, D], token vectors [T, L, D] and mask, without gradients.

        keep: see `records.Backbone`. ValueError for no captions at all, or spans for other captions.
        """
        return encode_in_parts(self, captions, keep, _TEXTS_AT_ONCE)

    def encode_frames(self, pixels_N3SS: Tensor) -> Tensor:
        """Frame vectors [N, D] of normalised pixels [N, 3, S, S], without gradients; not of unit length."""
        with torch.inference_mode():
            parts = [self.forward_frames(part) for part in torch.split(pixels_N3SS, _FRAMES_AT_ONCE)]
        return torch.cat(parts)

    frames_in_torch = encode_frames


class FrameTower(nn.Module):
    """Patches, residual convolutions over them, the largest value of each channel over all places, a linear map."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, sizes.channels, sizes.patch, sizes.patch)
        self.blocks = nn.ModuleList(
            nn.Conv2d(sizes.channels, sizes.channels, 3, padding=1) for _ in range(sizes.blocks)
        )
        self.norm = nn.LayerNorm(sizes.channels)
        self.joint = nn.Linear(sizes.channels, sizes.width)

    def forward(self, pixels_N3SS: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, D]."""
        places_NCSS = self.patches(pixels_N3SS)
        for block in self.blocks:
            places_NCSS = places_NCSS + block(F.gelu(places_NCSS))
        most_NC = self.norm(places_NCSS.flatten(2).transpose(1, 2)).amax(1)
        vectors_ND: Tensor = self.joint(most_NC)
        return vectors_ND


class TextTower(nn.Module):
    """A transformer over tokens (the one that reads frames elsewhere), a norm and a linear map of every token."""

    def __init__(self, sizes: Sizes, vocabulary: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, sizes.width)
        self.reader = TransformerTemporal(sizes.width, sizes.layers, sizes.width // HEAD_WIDTH, sizes.tokens)
        self.norm = nn.LayerNorm(sizes.width)
        self.joint = nn.Linear(sizes.width, sizes.width)

    def forward(self, ids_TL: Tensor, mask_TL: Tensor) -> Tensor:
        """Token vectors [T, L, D], zero where the mask is False."""
        read_TLD = self.reader(self.words(ids_TL), mask_TL)
        joint_TLD: Tensor = self.joint(self.norm(read_TLD)) * mask_TL[..., None]
        return joint_TLD


def learn_pieces(captions: Sequence[str], sizes: Sizes) -> Tokenizer:
    """A tokenizer of byte pairs (Sennrich et al., ACL 2016, arXiv 1508.07909) learnt from captions in lower case.

    Over bytes, so that every text has tokens; each ends with one of its own. Equal captions give equal pieces.
    """
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    words = Tokenizer(models.BPE())
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet: Any = sorted(pre_tokenizers.ByteLevel.alphabet())
    words.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=sizes.pieces, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
        ),
    )
    words.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, words.token_to_id(END))]
    )
    words.enable_truncation(sizes.tokens)
    return words
