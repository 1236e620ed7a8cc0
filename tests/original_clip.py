"""CLIP and CLIP4Clip as their authors wrote them, small, from the published architecture, and a tokenizer of words."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

VISION, TEXT, JOINT, PATCH, SIDE, CONTEXT, WORDS = 128, 64, 48, 8, 32, 10, 30


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class OriginalBlock(nn.Module):
    def __init__(self, width: int, heads: int, mask: Tensor | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": QuickGELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mask = mask

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.mask if mask is None else mask)[0]
        return x + self.mlp(self.ln_2(x))


class OriginalTransformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, mask: Tensor | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*[OriginalBlock(width, heads, mask, eps) for _ in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class OriginalVision(nn.Module):
    def __init__(self, joint: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, VISION, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(VISION))
        self.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, VISION))
        self.ln_pre, self.ln_post = nn.LayerNorm(VISION), nn.LayerNorm(VISION)
        self.transformer = OriginalTransformer(VISION, 3, VISION // 64)
        self.proj = nn.Parameter(torch.randn(VISION, joint))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x).permute(1, 0, 2)).permute(1, 0, 2)
        return self.ln_post(x[:, 0]) @ self.proj


class OriginalClip(nn.Module):
    def __init__(self, words: int = WORDS, context: int = CONTEXT, joint: int = JOINT) -> None:
        super().__init__()
        self.visual = OriginalVision(joint)
        mask = torch.full((context, context), float("-inf")).triu(1)
        self.transformer = OriginalTransformer(TEXT, 2, TEXT // 64, mask)
        self.token_embedding = nn.Embedding(words, TEXT)
        self.positional_embedding = nn.Parameter(torch.randn(context, TEXT))
        self.ln_final = nn.LayerNorm(TEXT)
        self.text_projection = nn.Parameter(torch.randn(TEXT, joint))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def encode_text(self, ids: Tensor) -> Tensor:
        x = (self.token_embedding(ids) + self.positional_embedding).permute(1, 0, 2)
        x = self.ln_final(self.transformer(x).permute(1, 0, 2))
        return x[torch.arange(len(x)), ids.argmax(1)] @ self.text_projection

    def forward(self, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.visual(pixels), self.encode_text(ids)


class OriginalClip4Clip(nn.Module):
    """The temporal part as CLIP4Clip runs it: sequence first, additive mask of -1e6, outer residual.

    kind: "lstm", "transformer", or "mean" for none.
    """

    def __init__(self, kind: str, clip: OriginalClip | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.clip = clip or OriginalClip()
        if kind != "mean":
            self.frame_position_embeddings = nn.Embedding(len(self.clip.positional_embedding), TEXT)
        if kind == "lstm":
            self.lstm_visual = nn.LSTM(TEXT, TEXT, batch_first=True)
        if kind == "transformer":
            self.transformerClip = OriginalTransformer(TEXT, 2, TEXT // 64, eps=1e-12)

    def frames(self, frames_VFD: Tensor, mask_VF: Tensor) -> Tensor:
        if self.kind == "mean":
            return frames_VFD
        if self.kind == "lstm":
            return self.lstm_visual(frames_VFD)[0] + frames_VFD
        places = torch.arange(frames_VFD.shape[1])
        x = (frames_VFD + self.frame_position_embeddings(places)).permute(1, 0, 2)
        mask = (1.0 - mask_VF.float()[:, None].expand(-1, mask_VF.shape[1], -1)) * -1000000.0
        for block in self.transformerClip.resblocks:
            x = block(x, mask.repeat_interleave(TEXT // 64, 0))
        return x.permute(1, 0, 2) + frames_VFD


def noisy(module: nn.Module) -> nn.Module:
    """Random everywhere: zero biases and unit norms would hide mistakes."""
    for parameter in module.parameters():
        nn.init.normal_(parameter.data, std=0.1)
    return module.eval()


def write_words(folder: Path, words: int = WORDS) -> None:
    """A tokenizer.json of whole words whose last two entries are the start and the end of a text, as CLIP's are."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = ["<unk>", "a", "something", "red", "green", "blue", "wall", "in", "the", "light"]
    names = [*known, *(f"<{number}>" for number in range(words - len(known) - 2)), "<start>", "<end>"]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", words - 2), ("<end>", words - 1)]
    )
    marks = {"bos_token": "<start>", "eos_token": "<end>", "unk_token": "<unk>", "pad_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
