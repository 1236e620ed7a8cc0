"""Weights of other projects into folders that `reelseek.encoders.clip.load_clip` and transformers read.

Not here: reading files (`reelseek.checkpoint.read`) and the mappings (`reelseek.checkpoint.layouts`).
"""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from reelseek.checkpoint.layouts import MAPPINGS, Mapped, as_float32, clip_config_from, clip_names, detect_layout
from reelseek.checkpoint.read import read_weights
from reelseek.checkpoint.runs import write_whole
from reelseek.errors import ModelError

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_VOCABULARY_BYTES = 64 * 2**20


class ConvertReport(NamedTuple):
    """What a conversion made.

    layout: of the source. missing: weights that transformers' model has and the source lacks (the model will not load).
    unexpected: names of the source that were left out. written: the files. note: what is left to do, or "".
    """

    layout: str
    missing: list[str]
    unexpected: list[str]
    written: list[Path]
    note: str = ""


def convert(source: Path | str, target_folder: Path | str, *, activation: str = "quick_gelu") -> ConvertReport:
    """Write config.json, model.safetensors and, where its word pieces can be found, the tokenizer of a CLIP file.

    A temporal module goes to temporal.safetensors under the names of `reelseek.encoders.temporal`, GARE's increment
    module to gare.safetensors under its authors' names. activation: "gelu" for open_clip weights that were not trained
    with OpenAI's. The word pieces are looked for beside the source and in the packages open_clip and clip, under the
    name bpe_simple_vocab_16e6.txt.gz. ModelError, UnsafeFile: see `read_weights`, `detect_layout`, `clip_config_from`.
    """
    state = read_weights(source)
    layout = detect_layout(state)
    if layout == "transformers":
        raise ModelError(f"{source} has transformers' layout already: give the folder that holds it as the model")
    mapped = MAPPINGS[layout](state)
    config = clip_config_from(mapped.clip, activation=activation)
    expected = clip_names(config)
    target = Path(target_folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        written = _write_parts(target, mapped)
        pieces = _find_vocabulary(Path(source).parent)
        note = f"put the tokenizer.json of OpenAI's CLIP into {target}: no {VOCABULARY} was found"
        if pieces is not None and config["text_config"]["vocab_size"] == 49408:
            written += _write_tokenizer(target, pieces, context=config["text_config"]["max_position_embeddings"])
            note = ""
        write_whole(target / "config.json", json.dumps(config, indent=2).encode())
    except OSError as error:
        raise ModelError(f"{target}: cannot be written ({error.strerror or error})") from None
    return ConvertReport(
        layout=layout,
        missing=sorted(expected - set(mapped.clip)),
        unexpected=sorted(mapped.unexpected),
        written=[*written, target / "config.json"],
        note=note,
    )


def _write_parts(target: Path, mapped: Mapped) -> list[Path]:
    from safetensors.torch import save

    parts = {"model": mapped.clip, "temporal": mapped.temporal, "gare": mapped.gare}
    paths = []
    for name, tensors in parts.items():
        if tensors:
            paths.append(target / f"{name}.safetensors")
            write_whole(paths[-1], save(as_float32(tensors), {"format": "pt"}))
    return paths


def _find_vocabulary(folder: Path) -> Path | None:
    """CLIP's list of merges beside the source, or inside a package that ships it."""
    folders = [folder]
    for package in ("open_clip", "clip"):
        spec = find_spec(package)
        folders += [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    return next((place / VOCABULARY for place in folders if (place / VOCABULARY).is_file()), None)


def _write_tokenizer(target: Path, pieces: Path, *, context: int) -> list[Path]:
    """vocab.json and merges.txt for transformers' `CLIPTokenizer`, from CLIP's own list of merges."""
    with gzip.open(pieces) as file:
        lines = file.read(_VOCABULARY_BYTES).decode("utf-8").split("\n")
    # CLIP uses the first 48,894 merges of the list: 49,152 entries less 256 bytes and 2 marks; line 0 is a version.
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = _byte_letters()
    words = letters + [f"{letter}</w>" for letter in letters] + ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": context,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    contents = {
        "vocab.json": json.dumps({word: number for number, word in enumerate(words)}, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *merges]) + "\n",
        "tokenizer_config.json": json.dumps(settings, indent=2),
    }
    for name, text in contents.items():
        write_whole(target / name, text.encode())
    return [target / name for name in contents]


def _byte_letters() -> list[str]:
    """A letter for each byte, in CLIP's order: printable bytes as themselves, the rest from code point 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]
