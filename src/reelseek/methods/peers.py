"""Trained weights of CLIP4Clip, GARE and CLIP as their authors' code wrote them, read into methods as they are.

The names in a file tell its layout, and the shapes tell the sizes. What they leave open is in `Reading`. Nothing in the
file runs. Not here: the mappings of names (`reelseek.checkpoint.layouts`) and reelseek's own runs (`methods.saved`).
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch

from reelseek.checkpoint.layouts import (
    MAPPINGS,
    METHOD_LAYOUTS,
    Mapped,
    as_float32,
    clip_config_from,
    detect_layout,
    recognised,
)
from reelseek.checkpoint.read import read_weights
from reelseek.checkpoint.vocabulary import SIZE, VOCABULARY, find_vocabulary, write_tokenizer
from reelseek.config import MethodConfig, RunConfig, SampleConfig
from reelseek.errors import ConfigError, HubUnreachable, ModelError
from reelseek.methods import build
from reelseek.methods.gare import GareHead
from reelseek.methods.method import Method
from reelseek.records import Backbone

TOKENIZER = "openai/clip-vit-base-patch32"
"""Where the hub has the tokenizer that all of OpenAI's CLIP models share."""
SAMPLE = SampleConfig(policy="fps", frames=12, fps=1.0)
"""How both projects look at short videos: a frame a second, thinned to 12 (64 for DiDeMo and ActivityNet)."""
METHODS_OF = {"clip4clip": ("clip4clip", "gare-baseline"), "gare": ("gare",)}
"""Which methods a layout can hold, the usual one first: GARE's baseline has CLIP4Clip's names."""

_ANY = frozenset(["activation", "method"])
_FRAMES = _ANY | {"temporal", "frames"}
READ_BY = {
    "zero-shot": _ANY,
    "clip4clip": _FRAMES,
    "gare-baseline": _FRAMES | {"frame_temperature"},
    "gare": _FRAMES | {"frame_temperature", "padding", "side", "context", "sign"},
}
"""What each method has of a `Reading`."""


class Reading(NamedTuple):
    """How a file is read where its names and shapes leave it open.

    activation: "gelu" for open_clip weights that were not trained with OpenAI's. method: a name of `METHODS_OF`, or ""
    for the usual one of the layout. temporal: False leaves out the temporal module that the file holds, as GARE's
    authors do on MSVD. frame_temperature: 3 in GARE's released script. padding: "masked", or "counted" as GARE's
    released code has it (see `reelseek.config.MethodConfig`); equal where no video is shorter than the others. frames:
    most frames of a video that the weights were trained with, to which counted padding goes; 64 on DiDeMo and
    ActivityNet. side, context, sign: GARE's variant (see `reelseek.methods.gare.GareHead`), of which all have the same
    names and shapes: the paper's setting for ActivityNet is "video" and "words".
    """

    activation: Literal["quick_gelu", "gelu"] = "quick_gelu"
    method: str = ""
    temporal: bool = True
    frame_temperature: float = 3.0
    padding: Literal["masked", "counted"] = "masked"
    frames: int = SAMPLE.frames
    side: Literal["text", "video"] = "text"
    context: Literal["frames", "words"] = "frames"
    sign: Literal[1, -1] = 1


def load_file(path: Path | str, *, device: str = "cpu", reading: Reading | None = None) -> Method:
    """The method in a weights file: CLIP4Clip with its temporal module, GARE, or zero-shot for CLIP alone.

    Raises ModelError for a file that is damaged, lacks tensors, or holds tensors that no method here uses; UnsafeFile
    for content that is not tensors; HubUnreachable where no tokenizer can be had; ConfigError for a `reading` with a
    method that the layout does not hold, or of something that its method has not.
    """
    path, reading = Path(path), reading or Reading()
    layout, mapped = _mapped(path)
    config = _method_config(path, layout, mapped, reading)
    method = build(config, _backbone(path, mapped, device, reading.activation))
    if layout in METHOD_LAYOUTS:
        _load_trained(method, mapped, path)
        method.trained_on = f"what {path.name} was trained on, which the file does not say"
    method.run = settings_of(layout, frames=reading.frames) | {"method": asdict(config)}
    return method.to(device).eval()


def load_towers(path: Path | str, *, device: str = "cpu") -> Backbone:
    """The CLIP towers in a weights file of any layout; errors as `load_file`."""
    return _backbone(Path(path), _mapped(Path(path))[1], device, "quick_gelu")


def file_settings(path: Path | str) -> dict[str, dict[str, Any]]:
    """The settings to evaluate a weights file with, by section: those its authors used. Errors as `read_weights`."""
    return settings_of(detect_layout(read_weights(path)))


def settings_of(layout: str, *, frames: int = SAMPLE.frames) -> dict[str, dict[str, Any]]:
    """The settings to evaluate a file of this layout with, by section."""
    return asdict(RunConfig(sample=replace(SAMPLE, frames=frames)) if layout in METHOD_LAYOUTS else RunConfig())


def _mapped(path: Path) -> tuple[str, Mapped]:
    """Layout and tensors. ModelError for tensors that nothing here uses: scores without them would be wrong ones."""
    state = read_weights(path)
    layout = detect_layout(state)
    if layout == "transformers":
        raise ModelError(f"{path} has transformers' layout: give the folder that holds it as the model.")
    mapped = MAPPINGS[layout](state)
    if mapped.unexpected:
        other = recognised(state)
        known = f"it looks like {other}, which is not implemented" if other else "it is of another model or version"
        raise ModelError(
            f"{path}: {len(mapped.unexpected)} tensors have no place in a {layout} model, "
            f"among them {mapped.unexpected[0]}: {known}."
        )
    return layout, mapped


def method_of(path: Path | str, layout: str, reading: Reading) -> str:
    """The method that a file of this layout is read as. ConfigError for another one, and for a `reading` of more than
    this method has.
    """
    held = METHODS_OF.get(layout, ("zero-shot",))
    name = reading.method or held[0]
    if name not in held:
        raise ConfigError(f"{path} has the {layout} layout: it can be read as {' or '.join(held)}, not as {name!r}.")
    given = {key for key, value in reading._asdict().items() if value != Reading._field_defaults[key]}
    words = {"frame_temperature": "temperature", "temporal": "temporal module"}
    unread = [words.get(key, key) for key in Reading._fields if key in given - READ_BY[name]]
    if unread:
        raise ConfigError(f"{path} is read as {name}, which has no {' and no '.join(unread)} to set: leave it out.")
    return name


def _method_config(path: Path, layout: str, mapped: Mapped, reading: Reading) -> MethodConfig:
    name = method_of(path, layout, reading)
    blocks = {int(found[1]) for found in (re.match(r"blocks\.(\d+)\.", key) for key in mapped.temporal) if found}
    temporal: Literal["mean", "lstm", "transformer"] = "mean"
    if mapped.temporal and reading.temporal:
        temporal = "lstm" if any(key.startswith("lstm.") for key in mapped.temporal) else "transformer"
    return MethodConfig(
        name=name,
        backbone=str(path.resolve()),
        temporal=temporal,
        layers=max(blocks, default=MethodConfig().layers - 1) + 1,
        frame_temperature=reading.frame_temperature,
        side=reading.side,
        context=reading.context,
        sign=reading.sign,
        padding=reading.padding,
        counted_frames=reading.frames if reading.padding == "counted" else 0,
    )


def _backbone(path: Path, mapped: Mapped, device: str, activation: str) -> Backbone:
    """The CLIP towers of a mapped file, with a tokenizer from beside it, an installed package, or the hub."""
    from reelseek.encoders.clip import ClipBackbone
    from reelseek.encoders.hub import clip_model, preprocess_from

    settings = clip_config_from(mapped.clip, path, activation=activation)
    tokenizer = _tokenizer(path, settings["text_config"])
    try:
        model = clip_model(settings, as_float32(mapped.clip))
    except ModelError as error:
        raise ModelError(f"{path}: {error}. Was it written whole?") from None
    preprocess = preprocess_from(None, side=settings["vision_config"]["image_size"], kind="clip")
    backbone = ClipBackbone(model, tokenizer, preprocess, precision="auto" if device == "cpu" else "float32")
    return cast(Backbone, backbone.to(device).eval())


def _tokenizer(path: Path, text: dict[str, Any]) -> Any:
    """A tokenizer that fits the vocabulary. ModelError or HubUnreachable where there is none."""
    from reelseek.encoders.hub import find_tokenizer

    pieces = find_vocabulary(path.parent)
    if any((path.parent / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        tokenizer = find_tokenizer(str(path.parent))
    elif pieces is not None and text["vocab_size"] == SIZE:
        with tempfile.TemporaryDirectory() as folder:
            write_tokenizer(Path(folder), pieces, context=text["max_position_embeddings"])
            tokenizer = find_tokenizer(folder)
    else:
        try:
            tokenizer = find_tokenizer(TOKENIZER)
        except ModelError as error:
            raise HubUnreachable(
                f"{path} holds no tokenizer, as no such file does, and that of {TOKENIZER} cannot be had: put its "
                f"tokenizer.json, or {VOCABULARY} of CLIP's repository, beside the file ({error})"
            ) from None
    most = max(tokenizer.get_vocab().values())
    if most >= text["vocab_size"]:
        raise ModelError(f"{path}: the tokenizer found counts to {most}, but the model knows {text['vocab_size']}.")
    return tokenizer


def _load_trained(method: Method, mapped: Mapped, path: Path) -> None:
    """The temporal module, the head and the scale of a file into a method that was built for it."""
    temporal = dict(mapped.temporal)
    positions = temporal.get("positions.weight")
    if positions is not None and method.temporal is not None:
        # Positions behind those that CLIP's text tower gives were never trained: videos were shorter.
        temporal["positions.weight"] = positions[: cast(int, method.temporal.max_frames)]
    try:
        if method.temporal is not None:
            method.temporal.load_state_dict(as_float32(temporal), strict=True)
        if mapped.gare:
            head = GareHead.from_authors(as_float32(mapped.gare), temperature=method.config["frame_temperature"])
            method.head.load_state_dict(head.state_dict(), strict=True)
    except RuntimeError as error:
        raise ModelError(f"{path}: its weights do not fit together ({_last_line(error)}).") from None
    with torch.no_grad():
        method.log_scale.copy_(mapped.clip["logit_scale"])


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1].strip()
