"""The settings of a run beside its state: what was asked for, and that a stopped run goes on with nothing else.

The training loop itself watches over its own settings (`reelseek.training.state`); here are all the others.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from reelseek.checkpoint.runs import write_whole
from reelseek.config import RunConfig
from reelseek.errors import CheckpointError
from reelseek.training import loop

SETTINGS = "settings.yaml"
PLACES = {"data.root", "data.captions", *(f"train.{name}" for name in loop.PLACES)}
"""Settings that may change between two starts of one run: where things are, not what they are."""
AFTERWARDS = ("evaluate",)
"""Sections of which training reads nothing that decides its weights."""


def keep_settings(config: RunConfig, out: Path) -> None:
    """Write settings.yaml, as `--config` reads it, into a run folder that is new.

    Raises CheckpointError if the folder holds a run with other settings, or cannot be written.
    """
    wanted = asdict(config)
    file = out / SETTINGS
    try:
        if file.exists() and (out / "state.safetensors").exists():
            _refuse_others(yaml.safe_load(file.read_text(encoding="utf-8")), wanted, out)
        out.mkdir(parents=True, exist_ok=True)
        write_whole(file, yaml.safe_dump(wanted, sort_keys=False).encode())
    except OSError as error:
        raise CheckpointError(f"{out}: the run cannot be written there ({error.strerror or error}).") from None
    except yaml.YAMLError:
        raise CheckpointError(f"{file} is damaged. Give the run another folder, or delete this one.") from None


def _refuse_others(kept: Any, wanted: dict[str, dict[str, Any]], out: Path) -> None:
    sections = kept if isinstance(kept, dict) else {}
    # A setting that came later than the run had its default.
    before = {name: values | (sections.get(name) or {}) for name, values in asdict(RunConfig()).items()}
    changed = [
        f"{section}.{name} was {before[section].get(name)}, now {value}"
        for section, values in wanted.items()
        for name, value in values.items()
        if section not in AFTERWARDS and f"{section}.{name}" not in PLACES and before[section].get(name) != value
    ]
    if changed:
        raise CheckpointError(
            f"{out} holds a run with other settings: {'; '.join(changed[:3])}. "
            "Give this run another folder with --out, or delete that one to start anew."
        )
