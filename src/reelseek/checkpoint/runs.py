"""A run folder: `config.json` and `model.safetensors`, whole or not at all.

Not here: what the settings mean and which module the tensors belong to (`reelseek.methods`).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelseek.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_DIGEST = "model_digest"


def save_run(
    folder: Path | str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a run: settings that JSON can hold, tensors, and further small text files by name.

    Every file is written aside, flushed to the disk and then renamed; the settings come last and hold the weights'
    digest, so that `load_run` sees a run that was broken off between two files. An older run in the folder is replaced.
    ValueError for settings that JSON cannot hold; CheckpointError where the folder cannot be written.
    """
    from safetensors.torch import save

    weights = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    settings = json.dumps({**config, _DIGEST: _digest(weights)}, indent=2, allow_nan=False, default=_refuse)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, text in (extra or {}).items():
            write_whole(Path(folder) / name, text.encode())
        write_whole(Path(folder) / WEIGHTS, weights)
        write_whole(Path(folder) / CONFIG, settings.encode())
    except OSError as error:
        raise CheckpointError(f"{folder}: the run cannot be written there ({error.strerror or error})") from None


def load_run(folder: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and tensors (on the CPU) as saved. CheckpointError for what is missing, half written or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    parts = []
    for name in (CONFIG, WEIGHTS):
        try:
            parts.append((Path(folder) / name).read_bytes())
        except OSError:
            raise CheckpointError(f"{folder} is not a run: it has no {name} that can be read") from None
    try:
        config = json.loads(parts[0])
        digest = config.pop(_DIGEST)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise CheckpointError(f"{folder}: {CONFIG} is damaged or was not written by a training run") from None
    if digest != _digest(parts[1]):
        raise CheckpointError(
            f"{folder}: {WEIGHTS} is not the one that {CONFIG} belongs to: writing was broken off or a file exchanged"
        )
    try:
        return config, load(parts[1])
    except SafetensorError as error:
        raise CheckpointError(f"{folder}: {WEIGHTS} is damaged ({error})") from None


def kind_of(folder: Path) -> str:
    """What the settings of a folder that `save_run` wrote say that it is; "" for a folder that says nothing."""
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        return ""
    return kind if isinstance(kind, str) else ""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that its name only ever holds all of the content: aside, to the disk, renamed. OSError passes."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
        try:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
            os.chmod(part.name, 0o644)  # temporary files start readable by their owner alone
            os.replace(part.name, path)
        except BaseException:
            os.unlink(part.name)
            raise


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _refuse(value: object) -> None:
    raise ValueError(f"a run's settings hold a {type(value).__name__}, which JSON cannot keep: {value!r}")
