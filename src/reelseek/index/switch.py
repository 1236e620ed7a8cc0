"""Another model for an index, without losing the library: embed everything anew beside the old tables, then switch.

The new model's tables grow in a folder of their own while searches go on over the old ones. One atomic write of the
card then makes them the index; the old tables stay, so that the switch can be taken back, until `compact` deletes them.
A switch that is killed goes on where it stopped when the same model is asked for again. A model that differs in what it
makes of texts alone takes the tables as they are.
Not here: how files become segments (`reelseek.index.build`), the card (`reelseek.index.cards`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reelseek.config import IndexConfig
from reelseek.errors import IndexError_
from reelseek.index import cards, kept, store
from reelseek.index.build import IndexReport, bring_up, embed_kept, new_card
from reelseek.index.disk import locked, writes
from reelseek.index.progress import telling
from reelseek.index.store import IndexedFile
from reelseek.index.upkeep import drop_leftovers, follow_moves
from reelseek.records import Method


def switch(
    directory: Path,
    method: Method,
    *,
    model_card: Mapping[str, Any],
    config: IndexConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IndexReport:
    """Embed all files that the index knows by another method, then make that the index's model, in one step.

    Until then searches answer from the old model. Files that have changed are read as they are now; where frames are
    kept, unchanged files need not be there. Others that cannot be reached (an unplugged disk) make it refuse, so that
    nothing is lost. config: None keeps the index's own settings;
    others are a switch too, also with the same model. model_card, progress: as for
    `reelseek.index.build.update`.

    Raises IndexError_ where the index has this model and these settings already, or knows files that are not there;
    IndexLocked; NotAnIndex.
    """
    begun = time.perf_counter()
    cards.open_index(directory)
    with locked(directory):
        old = cards.open_index(directory)
        wanted = config or old.config
        if (method.id, wanted) == (old.model["id"], old.config):
            raise IndexError_(f"{directory}: is by this model already. `reelseek index` brings it up to date.")
        new = new_card(directory, method, wanted, model_card, folder=_folder(method, wanted))
        rows = store.read_files(old.tables)
        frames = kept.rows_with_frames(new, method, rows)
        _check_there(directory, rows, {row.path for row in frames})
        with writes(directory):
            new.tables.mkdir(exist_ok=True)
        store.repair(new.tables)
        follow_moves(new.tables, rows)
        drop_leftovers(new.tables)
        done = {row.path for row in store.read_files(new.tables)}
        told = telling(directory, progress)
        first = embed_kept(new, method, [row for row in frames if row.path not in done], progress=told)
        _check_there(directory, rows, {row.path for row in store.read_files(new.tables)})
        files = [row.path for row in rows if row.path.exists()]
        report = bring_up(new, method, [], files=files, progress=told)
        cards.create(replace(new, previous=replace(old, previous=None)))
    return report._replace(
        added=report.added + first.added,
        unchanged=max(0, report.unchanged - first.added),
        video_seconds=report.video_seconds + first.video_seconds,
        decode_seconds=report.decode_seconds + first.decode_seconds,
        encode_seconds=report.encode_seconds + first.encode_seconds,
        seconds=time.perf_counter() - begun,
    )


def _check_there(directory: Path, rows: Sequence[IndexedFile], known: Collection[Path]) -> None:
    """Raise IndexError_ unless every file is there or its vectors can be had, or are known already, without it."""
    gone = [row.path for row in rows if row.status == "ok" and row.path not in known and not row.path.exists()]
    if gone:
        raise IndexError_(
            f"{directory}: {len(gone)} of its files are not there, among them {gone[0]}. If a disk is not mounted, "
            "mount it; if they were deleted, run `reelseek index` on their folder first."
        )


def switch_texts(
    directory: Path,
    method_id: str,
    *,
    before: str,
    model_card: Mapping[str, Any],
    write: Callable[[], None] = lambda: None,
) -> cards.IndexCard:
    """Make a method that gives the same vectors for videos the index's model, over the tables as they are, in one step.

    before: id of the model that it takes the place of; `roll_back` brings that back. write: puts what the model needs
    below the index, called under the lock, since whoever compacts deletes what no card names. Returns the new card.
    Raises IndexMismatch where the index has another model by now; IndexLocked; NotAnIndex.
    """
    cards.open_index(directory)
    with locked(directory):
        old = cards.open_index(directory)
        cards.check_model(old, before, str(old.model.get("name")))
        model = {**model_card, "id": method_id, "backbone": old.model["backbone"]}
        created = datetime.now(UTC).isoformat()
        card = replace(old, model=model, created=created, previous=replace(old, previous=None))
        write()
        cards.create(card)
    return card


def roll_back(directory: Path) -> cards.IndexCard:
    """Make the model before the last switch the index's model again; once more goes forward. Returns the new card.

    What was indexed meanwhile is not in its tables, unless both have the same: the next update adds it. Files that
    moved meanwhile answer under their new paths.
    Raises IndexError_ where no switch can be taken back; IndexLocked; NotAnIndex.
    """
    cards.open_index(directory)
    with locked(directory):
        index = cards.open_index(directory)
        if index.previous is None:
            raise IndexError_(f"{directory}: keeps no earlier model that could come back.")
        card = replace(index.previous, previous=replace(index, previous=None))
        store.repair(card.tables)
        if card.tables != index.tables:
            follow_moves(card.tables, store.read_files(index.tables))
        cards.create(card)
    return card


def _folder(method: Method, config: IndexConfig) -> str:
    """The same name for the same model and settings, so that a killed switch finds what it has done."""
    words = f"{method.id} {sorted(asdict(config).items())}"
    return f"model-{hashlib.blake2b(words.encode(), digest_size=8).hexdigest()}"
