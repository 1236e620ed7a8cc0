"""A run folder belongs to one run: what it was asked for and on which data, and the one process that trains in it.

The training loop itself watches over its own settings (`reelseek.training.state`); here are all the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from errno import ENOLCK, ENOSYS, ENOTSUP
from pathlib import Path
from typing import Any

import yaml

from reelseek.checkpoint.runs import CONFIG, WEIGHTS, write_whole
from reelseek.config import DataConfig, RunConfig
from reelseek.data.pairs import Splits, digest
from reelseek.errors import CheckpointError
from reelseek.lock import held
from reelseek.training import loop
from reelseek.training.state import STATE

SETTINGS, SPLITS, LOCK = "settings.yaml", "splits.json", "run.lock"
PLACES = {"data.root", "data.captions", *(f"train.{name}" for name in loop.PLACES)}
"""Settings that may change between two starts of one run: where things are, not what they are."""
AFTERWARDS = ("evaluate",)
"""Sections of which training reads nothing that decides its weights."""
NO_LOCKS = (ENOSYS, ENOTSUP, ENOLCK)


@contextmanager
def alone(out: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Be the one process that trains in a run folder, which is made if missing.

    Raises CheckpointError almost at once where another one does, naming it; for a folder without a state that holds
    files which a run writes at its end; where nothing can be written. Tells `say` of a file system without locks.
    The lock's empty file stays in the folder: whoever had opened it just before it was removed would hold what nobody
    else sees, and in a folder over a network there is no sure way to notice.
    """
    with ExitStack() as stack:
        holder = ""
        try:
            _refuse_something_else(out)
            out.mkdir(parents=True, exist_ok=True)
            holder = stack.enter_context(held(out / LOCK))
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise _unwritable(out, error) from None
            say(f"{out} lies on a file system without locks: nothing keeps a second training out of it.")
        if holder:
            raise CheckpointError(
                f"{out}: {holder} is training in this folder. Wait for its end, or give this run another folder with "
                "--out."
            )
        yield


def keep_settings(config: RunConfig, splits: Splits, out: Path) -> None:
    """Write settings.yaml, as `--config` reads it, and splits.json, a digest of each split that training reads.

    Raises CheckpointError if the folder holds a run with other settings or on other data, or cannot be written.
    """
    wanted = asdict(config)
    data = {"train": digest([splits.train]), "val": digest([splits.val])}
    try:
        begun = (out / STATE).exists()
        if begun:
            _refuse_other_settings(_read(out / SETTINGS), wanted, out)
            _refuse_other_data(_read(out / SPLITS), data, config.data, out)
        write_whole(out / SETTINGS, yaml.safe_dump(wanted, sort_keys=False).encode())
        # what a run from before digests were kept began with is not known
        if not begun or (out / SPLITS).exists():
            write_whole(out / SPLITS, json.dumps(data).encode())
    except OSError as error:
        raise _unwritable(out, error) from None


def _refuse_something_else(out: Path) -> None:
    there = [name for name in (CONFIG, WEIGHTS, "README.md") if (out / name).exists()]
    if there and not (out / STATE).exists():
        raise CheckpointError(
            f"{out} holds something else: {there[0]}, which this run would write over, and no {STATE} to go on from. "
            "Give this run another folder with --out, or delete that one to train anew."
        )


def _unwritable(out: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{out}: the run cannot be written there ({error.strerror or error}).")


def _read(file: Path) -> Any:
    """What a file of YAML or JSON holds, None where there is no such file. CheckpointError for a damaged one."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise CheckpointError(f"{file} is damaged. Give the run another folder, or delete this one.") from None


def _refuse_other_data(kept: Any, wanted: dict[str, str], data: DataConfig, out: Path) -> None:
    if kept is None:  # a run from before digests were kept goes on as it did
        return
    changed = [name for name in wanted if not isinstance(kept, dict) or kept.get(name) != wanted[name]]
    if changed:
        raise CheckpointError(
            f"{out} holds a run on other data: the texts or videos of {data.root or data.name} ({changed[0]} split) "
            "are not those that it began with. Give this run another folder with --out, or delete that one to start "
            "anew."
        )


def _refuse_other_settings(kept: Any, wanted: dict[str, dict[str, Any]], out: Path) -> None:
    if kept is None:
        return
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
