"""CLIP weights of other projects into folders that `reelseek.encoders.clip.load_clip` and transformers read.

Not here: reading files (`reelseek.checkpoint.read`), the mappings (`reelseek.checkpoint.layouts`), and files that hold
a whole retrieval method (`reelseek.methods.peers`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from reelseek.checkpoint.layouts import (
    MAPPINGS,
    METHOD_LAYOUTS,
    as_float32,
    clip_config_from,
    clip_names,
    detect_layout,
)
from reelseek.checkpoint.read import read_weights
from reelseek.checkpoint.runs import write_whole
from reelseek.checkpoint.vocabulary import VOCABULARY, find_vocabulary, write_tokenizer
from reelseek.errors import ModelError


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

    activation: "gelu" for open_clip weights that were not trained with OpenAI's. The word pieces are looked for beside
    the source and in the packages open_clip and clip, under the name bpe_simple_vocab_16e6.txt.gz. ModelError for a
    file that holds more than CLIP; ModelError, UnsafeFile: see `read_weights`, `detect_layout`, `clip_config_from`.
    """
    from safetensors.torch import save

    state = read_weights(source)
    layout = detect_layout(state)
    if layout == "transformers":
        raise ModelError(f"{source} has transformers' layout already: give the folder that holds it as the model")
    if layout in METHOD_LAYOUTS:
        raise ModelError(f"{source} holds a whole retrieval method in {layout}'s layout: see reelseek.methods.peers")
    mapped = MAPPINGS[layout](state)
    config = clip_config_from(mapped.clip, Path(source), activation=activation)
    expected = clip_names(config)
    target = Path(target_folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        written = [target / "model.safetensors"]
        write_whole(written[0], save(as_float32(mapped.clip), {"format": "pt"}))
        pieces = find_vocabulary(Path(source).parent)
        note = f"put the tokenizer.json of OpenAI's CLIP into {target}: no {VOCABULARY} was found"
        if pieces is not None and config["text_config"]["vocab_size"] == 49408:
            written += write_tokenizer(target, pieces, context=config["text_config"]["max_position_embeddings"])
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
