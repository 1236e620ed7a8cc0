"""What a run leaves to look at: log.jsonl, one object a step and one a validation, and TensorBoard's event files.

A run that goes on after a stop cuts both back to where its state was saved, so that no step stands there twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "log.jsonl"


class RunLog:
    """Appends records to a run folder; opened with the number of lines and the step that the run goes on from."""

    def __init__(self, folder: Path, *, lines: int = 0, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / NAME
        path.touch()
        self.lines = 0
        with open(path, "rb+") as file:
            end = 0
            while self.lines < lines and file.readline().endswith(b"\n"):
                self.lines, end = self.lines + 1, file.tell()
            file.truncate(end)
        self._file = path.open("a", encoding="utf-8")
        # TensorBoard drops what an earlier start wrote from purge_step on.
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, record: Mapping[str, Any]) -> None:
        """One line, and one TensorBoard scalar for every number, under the record's "kind"."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self.lines += 1
        for name, value in record.items():
            if name not in ("kind", "step") and isinstance(value, int | float):
                self._events.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def sync(self) -> None:
        """Bring everything that was written to the disk."""
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._events.close()
