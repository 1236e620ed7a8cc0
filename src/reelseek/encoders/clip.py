"""CLIP and SigLIP backbones over transformers' models: frames and texts in one trained space.

Not here: reading other layouts of CLIP weights (`reelseek.checkpoint.convert` makes the folders that are loaded here).
The offline default does without transformers, so this unit alone, and only when a model is loaded, imports it.
Shapes: T texts, L tokens, N frames, D width of the joint space.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelseek.encoders import hub
from reelseek.encoders.compiled import CompiledTower
from reelseek.encoders.identity import Identity
from reelseek.encoders.in_parts import encode_in_parts
from reelseek.encoders.processor import computes_bf16
from reelseek.encoders.spans import Spans, kept_tokens
from reelseek.errors import ModelError
from reelseek.records import Preprocess, Texts

Precision = Literal["float32", "bfloat16", "auto"]
_FRAMES_AT_ONCE = 32
_FRAMES_PROBED = 4
_TEXTS_AT_ONCE = 64
_settling = threading.RLock()


class ClipBackbone(nn.Module):
    """A CLIP or SigLIP model as a backbone (see `records.Backbone`); both towers end in one width.

    model: transformers' `CLIPModel` or `SiglipModel`. tokenizer: its tokenizer. precision: see
    `load_clip`; the `id` names weights, vocabulary and preprocessing, not precision and device.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        preprocess: Preprocess,
        *,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.precision = precision
        self.name = str(model.config.model_type)
        self.compiled = CompiledTower(_FrameTower(model), self.frames_in_torch)
        self.context = int(model.config.text_config.max_position_embeddings)
        self.text_width = self.frame_width = _joint_width(model.config)
        settings = [_plain_config(model.config), preprocess, sorted(tokenizer.get_vocab().items())]
        self._identity = Identity(self.name, json.dumps(settings, sort_keys=True))
        # The models' own scale and bias of scores take no part here: an optimiser must not wait for their gradients.
        for name in ("logit_scale", "logit_bias"):
            if hasattr(model, name):
                getattr(model, name).requires_grad_(False)

    @property
    def id(self) -> str:
        """Kind and a digest over configuration, vocabulary, preprocessing and the weights now (see `Identity`)."""
        return self._identity.of(self.model)

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there and outputs stay there."""
        return self.model.logit_scale.device  # type: ignore[no-any-return]

    def tokenize(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token numbers [T, L] and their mask (True = real), cut at the model's context, on the CPU.

        CLIP texts are padded to the longest; SigLIP was trained on, and needs, texts padded to its whole context.
        ValueError for no captions at all.
        """
        if not captions:
            raise ValueError("tokenize needs at least one caption")
        rows = self.tokenizer(list(captions), truncation=True, max_length=self.context)["input_ids"]
        length = self.context if self.name == "siglip" else max(map(len, rows))
        padding = self.tokenizer.pad_token_id
        # CLIP reads a text up to its end token, so any padding will do where a tokenizer names none.
        ids_TL = torch.full((len(rows), length), self.tokenizer.eos_token_id if padding is None else padding)
        for number, row in enumerate(rows):
            ids_TL[number, : len(row)] = torch.tensor(row)
        return ids_TL, torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]

    def token_spans(self, captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        """The characters (start, end) of every token of `tokenize`, by caption; (0, 0) for special tokens.

        Raises ModelError for a tokenizer that does not tell them.
        """
        if not getattr(self.tokenizer, "is_fast", False):
            raise ModelError(
                f"this {self.name} model's tokenizer does not say where its tokens stand in a text, so words of a "
                "sentence cannot be told apart: set method.sentences to rkw, or put a tokenizer.json into its folder."
            )
        found = self.tokenizer(list(captions), truncation=True, max_length=self.context, return_offsets_mapping=True)
        return [[(int(start), int(end)) for start, end in row] for row in found["offset_mapping"]]

    def kept_tokens(self, captions: Sequence[str], keep: Sequence[Spans], length: int) -> Tensor:
        """Which of the tokens of `tokenize` may be attended to, bool [T, length]: see `records.Backbone`."""
        return kept_tokens(self.token_spans(captions), keep, length)

    def forward_texts(self, ids_TL: Tensor, mask_TL: Tensor, kept_TL: Tensor | None = None) -> Texts:
        """Sentence vectors [T, D] and token vectors [T, L, D], with gradients: the path for end-to-end training.

        Tokens pass the final layer norm and the text projection, as the sentence vector does. kept_TL: tokens that may
        be attended to (see `kept_tokens`), all by default; the others keep their places, and their mask is False.
        """
        # No mask of the padding: CLIP's text tower is causal and SigLIP's was trained to see it.
        output = self.model.get_text_features(
            input_ids=ids_TL.to(self.device),
            attention_mask=None if kept_TL is None else kept_TL.to(self.device),
            return_dict=True,
        )
        last = self.model.text_projection if self.name == "clip" else self.model.text_model.head
        tokens_TLD = last(output.last_hidden_state)
        mask_TL = mask_TL if kept_TL is None else mask_TL & kept_TL
        return Texts(_vector(output).float(), tokens_TLD.float(), mask_TL.to(self.device))

    def forward_frames(self, pixels_N3HW: Tensor) -> Tensor:
        """Frame vectors [N, D] of normalised pixels, with gradients; not of unit length."""
        output = self.model.get_image_features(pixel_values=pixels_N3HW.to(self.device), return_dict=True)
        return _vector(output).float()

    def encode_texts(self, captions: Sequence[str], *, keep: Sequence[Spans] | None = None) -> Texts:
        """Sentence vectors [T, D], token vectors [T, L, D] and mask, without gradients.

        keep: see `records.Backbone`. ValueError for no captions at all, or spans for other captions.
        """
        return encode_in_parts(self, captions, keep, _TEXTS_AT_ONCE)

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        """Frame vectors [N, D] of normalised pixels [N, 3, S, S], without gradients; not of unit length."""
        return self.compiled(pixels_N3HW)

    def frames_in_torch(self, pixels_N3HW: Tensor) -> Tensor:
        """What `encode_frames` gives, by torch in the backbone's precision."""
        with _settling:  # several threads encode
            if self.precision == "auto":
                self.precision = "bfloat16" if probe_bf16(self, pixels_N3HW[:_FRAMES_PROBED]) else "float32"
        half = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            parts = [self.forward_frames(part) for part in torch.split(pixels_N3HW, _FRAMES_AT_ONCE)]
        return torch.cat(parts)


class _FrameTower(nn.Module):
    """The image side alone, as a function of pixels."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels_N3HW: Tensor) -> Tensor:
        return _vector(self.model.get_image_features(pixel_values=pixels_N3HW, return_dict=True)).float()


def load_clip(
    name_or_folder: str | Path,
    *,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
) -> ClipBackbone:
    """A CLIP or SigLIP backbone from a folder, the local hub cache (HF_HOME), or the hub, in this order.

    precision is that of `encode_frames`: "auto" takes bfloat16 if `probe_bf16` finds it close enough on the
    first frames that come, so that a command which encodes none does not wait for the answer. Texts are cheap and stay
    in float32.
    Raises ModelError for a folder that is missing, damaged or of another kind, HubUnreachable for a name that neither
    the cache nor the hub gives (HF_HUB_OFFLINE=1 asks the cache alone); the hub has five seconds to answer.
    """
    model, tokenizer, preprocess = hub.find(str(name_or_folder))
    backbone = ClipBackbone(model, tokenizer, preprocess, precision=precision)
    return backbone.to(device).eval()


class _HalfCapable(Protocol):
    precision: Precision

    def frames_in_torch(self, pixels_N3HW: Tensor) -> Tensor: ...


def probe_bf16(backbone: _HalfCapable, example_N3HW: Tensor) -> bool:
    """Whether bfloat16 is worth it here: what computes has it, and every cosine to float32 is at least 0.999.

    No clock is asked: what else runs on the machine must not decide which vectors a file gets. The backbone keeps the
    precision it had.
    """
    if example_N3HW.device.type == "cpu" and not computes_bf16():
        return False
    before, vectors = backbone.precision, {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    try:
        for precision in precisions:
            backbone.precision = precision
            vectors[precision] = backbone.frames_in_torch(example_N3HW).cpu()
    finally:
        backbone.precision = before
    return bool(F.cosine_similarity(vectors["float32"], vectors["bfloat16"]).min() >= 0.999)


def _vector(output: Any) -> Tensor:
    """The projected vector of `get_image_features` and `get_text_features`, which transformers 5 wraps in an object."""
    return output.pooler_output  # type: ignore[no-any-return]


def _joint_width(config: Any) -> int:
    if config.model_type == "clip":
        return int(config.projection_dim)
    text, frame = config.text_config.projection_size, config.vision_config.hidden_size
    if text != frame:
        raise ModelError(f"the towers end in different widths: texts {text}, frames {frame}")
    return int(text)


def _plain_config(config: Any) -> dict[str, Any]:
    """The configuration without what names a place or a version."""
    aside = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
    return json.loads(  # type: ignore[no-any-return]
        json.dumps({key: value for key, value in config.to_dict().items() if key not in aside}, default=str)
    )
