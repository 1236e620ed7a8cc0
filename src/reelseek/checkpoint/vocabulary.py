"""CLIP's tokenizer from the list of merges that its authors published; no weights file holds one.

Not here: a tokenizer that transformers has already (`reelseek.encoders.hub`).
"""

from __future__ import annotations

import gzip
import json
import zlib
from importlib.util import find_spec
from pathlib import Path

from reelseek.checkpoint.runs import write_whole
from reelseek.errors import ModelError

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
SIZE = 49408
"""Word pieces of OpenAI's vocabulary, which every CLIP file without a tokenizer of its own counts by."""
_VOCABULARY_BYTES = 64 * 2**20


def find_vocabulary(folder: Path) -> Path | None:
    """CLIP's list of merges beside the source, or inside a package that ships it."""
    folders = [folder]
    for package in ("open_clip", "clip"):
        spec = find_spec(package)
        folders += [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    return next((place / VOCABULARY for place in folders if (place / VOCABULARY).is_file()), None)


def write_tokenizer(target: Path, pieces: Path, *, context: int) -> list[Path]:
    """vocab.json and merges.txt for transformers' `CLIPTokenizer`, from CLIP's own list of merges.

    context: most tokens of a text. ModelError for a list that is damaged or shorter than CLIP's; OSError passes.
    """
    try:
        with gzip.open(pieces) as file:
            lines = file.read(_VOCABULARY_BYTES).decode("utf-8").split("\n")
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ModelError(f"{pieces} is damaged ({error}): download it again") from None
    # CLIP uses the first 48,894 merges of the list: 49,152 entries less 256 bytes and 2 marks; line 0 is a version.
    merges = lines[1 : 49152 - 256 - 2 + 1]
    letters = _byte_letters()
    words = letters + [f"{letter}</w>" for letter in letters] + ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    if len(words) != SIZE:
        raise ModelError(f"{pieces} makes {len(words)} word pieces where CLIP has {SIZE}: it is another list")
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
