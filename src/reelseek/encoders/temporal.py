"""Modules over the frames of a video: seqLSTM and seqTransf of CLIP4Clip (Luo et al., Neurocomputing 2022, 3.3).

Both take frames [V, F, D] with a mask [V, F] (True = real frame) and return frames [V, F, D]; pooling them to a score
is the head's work. Averaging without a module (meanP) needs nothing from here: its temporal module is None. A masked
place may hold anything, and what stands there in the output has no meaning. Shapes: V videos, F frames, D width.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class LstmTemporal(nn.Module):
    """One unidirectional LSTM layer over the frames, added to its input (seqLSTM)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(self, frames_VFD: Tensor, mask_VF: Tensor) -> Tensor:
        """[V, F, D] -> [V, F, D].

        ValueError where a video has no real frame, or a real frame stands behind padding.
        """
        _check_mask(mask_VF)
        lengths_V = mask_VF.sum(1)
        if not torch.equal(mask_VF, torch.arange(mask_VF.shape[1], device=mask_VF.device) < lengths_V[:, None]):
            raise ValueError("the LSTM reads frames in order: padding must stand behind all real frames of a video")
        packed = pack_padded_sequence(frames_VFD, lengths_V.cpu(), batch_first=True, enforce_sorted=False)
        read_VFD, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=frames_VFD.shape[1])
        return frames_VFD + read_VFD


class TransformerBlock(nn.Module):
    """Pre-norm attention and QuickGELU feed-forward, each added to its input, as in CLIP's text tower."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # CLIP4Clip's layer norms have this epsilon; CLIP's own have 1e-5.
        self.norm_1 = nn.LayerNorm(width, eps=1e-12)
        self.qkv = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width, eps=1e-12)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)

    def forward(self, x_VFD: Tensor, mask_VF: Tensor) -> Tensor:
        """[V, F, D] -> [V, F, D]; masked frames are not attended to."""
        q, k, v = self.qkv(self.norm_1(x_VFD)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_VF[:, None, None])
        x_VFD = x_VFD + self.mixed(attended.transpose(1, 2).flatten(2))
        inner = self.inner(self.norm_2(x_VFD))
        return x_VFD + self.outer(inner * torch.sigmoid(1.702 * inner))  # type: ignore[no-any-return]


class TransformerTemporal(nn.Module):
    """Transformer blocks over frames with learned positions, added to the input (seqTransf).

    Linear maps and positions start from N(0, 0.02), biases from zero; `initialise_from_text_tower` gives the start that
    CLIP4Clip uses. heads must divide width. max_frames is the number of positions.
    """

    def __init__(self, width: int, layers: int, heads: int, max_frames: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.max_frames = max_frames
        self.positions = nn.Embedding(max_frames, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(layers))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, frames_VFD: Tensor, mask_VF: Tensor) -> Tensor:
        """[V, F, D] -> [V, F, D]. ValueError for more than `max_frames` frames or a video without a real frame."""
        _check_mask(mask_VF)
        count = frames_VFD.shape[1]
        if count > self.max_frames:
            raise ValueError(f"{count} frames, but this temporal transformer has positions for {self.max_frames}")
        # Attention gives a masked place a weight of 0, and 0 times no number is no number.
        frames_VFD = frames_VFD.masked_fill(~mask_VF[:, :, None], 0)
        x_VFD = frames_VFD + self.positions.weight[:count]
        for block in self.blocks:
            x_VFD = block(x_VFD, mask_VF)
        return frames_VFD + x_VFD


def initialise_from_text_tower(temporal: TransformerTemporal, clip_model: Any) -> None:
    """Copy CLIP's token positions and the first layers of its text tower into a temporal transformer (CLIP4Clip).

    clip_model: a transformers `CLIPModel`. ValueError where widths differ, or where the text tower has fewer layers or
    positions than the temporal transformer.
    """
    tower = clip_model.text_model
    positions = tower.embeddings.position_embedding.weight.detach()
    if positions.shape[1] != temporal.positions.embedding_dim:
        raise ValueError(
            f"the text tower is {positions.shape[1]} wide, the temporal transformer {temporal.positions.embedding_dim}"
        )
    if len(tower.encoder.layers) < len(temporal.blocks) or len(positions) < temporal.max_frames:
        raise ValueError(
            f"the text tower has {len(tower.encoder.layers)} layers and {len(positions)} positions, the temporal "
            f"transformer wants {len(temporal.blocks)} and {temporal.max_frames}"
        )
    with torch.no_grad():
        temporal.positions.weight.copy_(positions[: temporal.max_frames])
        for module, layer in zip(temporal.blocks, tower.encoder.layers, strict=False):
            block = cast(TransformerBlock, module)
            attention = layer.self_attn
            parts = (attention.q_proj, attention.k_proj, attention.v_proj)
            block.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
            block.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
            pairs = (
                (block.mixed, attention.out_proj),
                (block.norm_1, layer.layer_norm1),
                (block.norm_2, layer.layer_norm2),
                (block.inner, layer.mlp.fc1),
                (block.outer, layer.mlp.fc2),
            )
            for target, source in pairs:
                target.load_state_dict(source.state_dict())


def _check_mask(mask_VF: Tensor) -> None:
    empty = (~mask_VF.any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"videos {empty[:8]} of the batch have no real frame")
