"""Files in, index out: which files are new, embedded once, cut into segments, stored in batches that survive a kill.

The order of commits makes every step repeatable: rows of gone and changed files leave first, a video's segments come
before its row, and contents without a row are dropped last. A run that was killed leaves contents without a row; the
next one adopts them instead of decoding their files again.
Not here: the plan (`reelseek.index.plan`), the file format (`reelseek.index.store`), search (`reelseek.index.search`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from reelseek.config import IndexConfig
from reelseek.embed import embed_files
from reelseek.embed_pipeline import Source
from reelseek.errors import IndexError_, IndexMismatch
from reelseek.index import cards, kept, store, subtitles
from reelseek.index.cards import IndexCard
from reelseek.index.disk import locked, writes
from reelseek.index.plan import Emptied, Plan, as_planned, below, find, is_below, make_plan
from reelseek.index.progress import telling
from reelseek.index.segments import any_text, blank_video, cut_segments
from reelseek.index.store import IndexedFile
from reelseek.index.upkeep import drop_frames, drop_leftovers, forget_elsewhere
from reelseek.records import BrokenFile, EmbeddedVideo, Method, Texts
from reelseek.threads import one_thread
from reelseek.video.sample import fixed_fps

BATCH_VIDEOS = 64
BATCH_SECONDS = 10.0
"""A commit is made after so many videos or so many seconds: what a kill can cost."""
CHANGED = "was changed while it was read; the next update reads it again."


class IndexReport(NamedTuple):
    """What an update did, in numbers of paths.

    added: new content. moved: known content under a new path (renamed or copied), nothing decoded. removed: paths that
    are gone and whose content is under no other path. broken: every broken file of the folders, old ones included.
    video_seconds: length of what was added; decode_seconds and encode_seconds overlap in time, seconds is the whole.
    subtitles: files of them that the index holds for the folders, subtitles_read: those that were new or changed,
    cues_damaged: what was left out of these, subtitles_broken: those of them that could not be read at all. emptied:
    folders that are empty now, and whose files the index keeps all the same.
    """

    added: int
    unchanged: int
    moved: int
    removed: int
    broken: list[BrokenFile]
    video_seconds: float
    seconds: float
    decode_seconds: float
    encode_seconds: float
    subtitles: int = 0
    subtitles_read: int = 0
    cues_damaged: int = 0
    subtitles_broken: Sequence[BrokenFile] = ()
    emptied: Sequence[Emptied] = ()


def update(
    directory: Path,
    folders: Sequence[Path],
    method: Method,
    *,
    model_card: Mapping[str, Any],
    config: IndexConfig | None = None,
    files: Sequence[Path] | None = None,
    keep_frames: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IndexReport:
    """Make the index of all videos below `folders` (or files), or bring it up to date; may be killed at any moment.

    A file of the same path, size and time of change is not opened again; known content is not decoded again, whatever
    its path. Paths outside `folders` stay as they are. method: in evaluation mode, the same one at every update.
    config: None keeps the index's own. files: those below `folders` that are looked at, where not all shall be; the
    others stay as they are, if they are still there. model_card: plain values kept with the index, such as "trained_on"
    and what its caller needs to load the model again. progress: called with (done, total) files.
    keep_frames: from now on keep the sampled frames of what is added (`reelseek.index.kept`), or delete those kept.

    Raises IndexLocked while another process writes; NotAnIndex; IndexMismatch for another model or other settings;
    IndexError_ where the disk is full or read-only, and for a folder that is missing, or holds no video although the
    index knows some below it: an unplugged disk must not empty an index. Nor does one below a folder: see
    `IndexReport.emptied`.
    """
    begun = time.perf_counter()
    places = [Path(os.path.abspath(folder)) for folder in folders]
    is_there = cards.is_index(directory)
    for place in places:
        if not place.exists():
            rows = store.read_files(cards.open_index(directory).tables) if is_there else []
            known = any(is_below(row.path, [place]) for row in rows)
            advice = f" If it was deleted, take its files out with `reelseek index remove {place}`." if known else ""
            raise IndexError_(f"{place}: not there.{advice}")
    with locked(directory):
        if cards.is_index(directory):
            index = _open(directory, method, config)
            store.repair(index.tables)
        else:
            index = _new_index(directory, method, config or IndexConfig(), model_card)
        with writes(directory):
            if keep_frames is False:
                shutil.rmtree(directory / kept.FOLDER, ignore_errors=True)
            elif keep_frames:
                (directory / kept.FOLDER).mkdir(exist_ok=True)
        told = telling(directory, progress)
        report = bring_up(index, method, places, files=files, progress=told, everywhere=True)
        rows = store.read_files(index.tables)
        drop_frames(index)
        said = subtitles.follow(directory, rows, places)
    return report._replace(
        seconds=time.perf_counter() - begun,
        subtitles=said.files,
        subtitles_read=said.read,
        cues_damaged=said.damaged,
        subtitles_broken=said.broken,
    )


def bring_up(
    index: IndexCard,
    method: Method,
    places: Sequence[Path],
    *,
    files: Sequence[Path] | None = None,
    progress: Callable[[int, int], None] | None = None,
    everywhere: bool = False,
) -> IndexReport:
    """`update` of an index's tables, under the lock that the caller holds.

    files: what to index instead of `places`. everywhere: what leaves these tables leaves those of other models too.
    """
    tables = index.tables
    known = store.read_files(tables)
    found = find(places, known) if files is None else files
    plan = make_plan(known, found, store.contents(tables), places)
    if everywhere:  # before these tables forget it: whoever is killed in between finds it again
        forget_elsewhere(index, known, [*plan.kept, *plan.ready, *chain.from_iterable(plan.groups)])
    if plan.ready or len(plan.kept) != len(known):
        store.write_files(tables, plan.kept + plan.ready, replace=True)
    report = _embed(index, method, plan, progress)
    drop_leftovers(tables)
    asked = below(places) if files is None else set(files).__contains__
    broken = [BrokenFile(row.path, row.reason) for row in store.read_files(tables, status="broken") if asked(row.path)]
    return report._replace(broken=broken)


def _open(directory: Path, method: Method, config: IndexConfig | None) -> IndexCard:
    index = cards.open_index(directory)
    cards.check_model(index, method.id, method.name)
    if config is not None and config != index.config:
        wanted = cards.options_of(config, index.config)
        raise IndexMismatch(
            f"{directory}: was made with {cards.options_of(index.config, config)}, not with {wanted}. Leave that out, "
            f"or change the whole index: `reelseek index switch {wanted} --index {directory}`."
        )
    return index


def _new_index(directory: Path, method: Method, config: IndexConfig, model_card: Mapping[str, Any]) -> IndexCard:
    index = new_card(directory, method, config, model_card)
    cards.create(index)
    return index


def new_card(
    directory: Path, method: Method, config: IndexConfig, model_card: Mapping[str, Any], *, folder: str = ""
) -> IndexCard:
    """The card of an index that this method is about to make. Raises what a method raises that cannot make one."""
    with one_thread(), torch.inference_mode():
        # A segment of full length: a model that cannot take one says so before anything is written.
        _, projected = method.project(any_text(method), blank_video(method, config.segment_frames))
    return IndexCard(
        directory=directory,
        model={"name": method.name, "backbone": method.backbone_id, **model_card, "id": method.id},
        config=config,
        width=projected.frames_VFD.shape[-1],
        created=datetime.now(UTC).isoformat(),
        folder=folder,
    )


def embed_kept(
    index: IndexCard, method: Method, rows: Sequence[IndexedFile], *, progress: Callable[[int, int], None] | None = None
) -> IndexReport:
    """Embed the frames that are kept of files into an index's tables; those that are damaged are left to `bring_up`."""
    keeper = kept.Keeper(index.directory, index.config)
    groups: dict[str, list[IndexedFile]] = {}
    for row in rows:
        groups.setdefault(row.content_hash, []).append(row)
    plan = Plan([], [], list(groups.values()), 0, 0, 0, 0)
    return _embed(index, method, plan, progress, frames=[keeper.place(content) for content in groups])


def _embed(
    index: IndexCard,
    method: Method,
    plan: Plan,
    progress: Callable[[int, int], None] | None,
    *,
    frames: Sequence[Path] | None = None,
) -> IndexReport:
    """Embed the plan's groups and store them. frames: where each group's frames are kept, to be read instead."""
    config = index.config
    added = plan.adopted
    video_seconds = decode_seconds = encode_seconds = 0.0
    done = plan.unchanged + plan.moved + plan.adopted
    total = done + sum(len(group) for group in plan.groups)
    keeper = kept.Keeper(index.directory, config)
    if frames is not None:
        source: Source | None = kept.kept_source()
    else:
        source = keeper.source() if keeper.wanted() else None
    results = embed_files(
        method,
        [group[0].path for group in plan.groups] if frames is None else frames,
        lambda duration: fixed_fps(duration, config.fps, 0, at_least=config.min_frames),
        sampling_key="",  # names entries of a cache, and an index keeps none
        keyframes=config.keyframes,
        differences=config.segments == "shots",
        source=source,
    )
    text: Texts | None = None
    with _Batch(index.tables) as batch, torch.inference_mode():
        for group, result in zip(plan.groups, results, strict=True):
            if isinstance(result, EmbeddedVideo) and frames is None and not as_planned(group[0]):
                result = BrokenFile(result.path, f"{result.path}: {CHANGED}", passing=True)
            if isinstance(result, EmbeddedVideo):
                if frames is None:
                    keeper.finish(result.path, result.content_hash)
                with one_thread():
                    text = text or any_text(method)  # with the first result, when other threads are at work
                    table = cut_segments(result, group[0].size, method, text, index)
                if table is None:
                    result = BrokenFile(result.path, f"{result.path}: the model gives no usable vector for its frames.")
                else:
                    batch.add_video(table, result, group)
                    added += len(group)
                    video_seconds += result.duration
                    decode_seconds += result.decode_seconds
                    encode_seconds += result.encode_seconds
            if isinstance(result, BrokenFile) and frames is None:
                keeper.discard(result.path)
                batch.add_broken(result, group)
            done += len(group)
            if progress is not None:
                progress(done, total)
    return IndexReport(
        added=added,
        unchanged=plan.unchanged,
        moved=plan.moved,
        removed=plan.removed,
        broken=[],
        video_seconds=video_seconds,
        seconds=0.0,
        decode_seconds=decode_seconds,
        encode_seconds=encode_seconds,
        emptied=plan.emptied,
    )


class _Batch:
    """Finished videos that wait for their commit; leaving the `with` block commits the rest, after Ctrl-C too."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.stored = set(store.contents(place))
        self.tables: list[Any] = []
        self.rows: list[IndexedFile] = []
        self.begun = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.commit()

    def add_video(self, table: Any, video: EmbeddedVideo, group: list[IndexedFile]) -> None:
        key = video.content_hash
        if key not in self.stored:
            self.stored.add(key)
            self.tables.append(table)
        for row in group:
            # A file that changed between the two readings is looked at again next time.
            size = row.size if row.content_hash in ("", key) else -1
            self._add(row._replace(size=size, content_hash=key, duration=float(video.duration)))

    def add_broken(self, broken: BrokenFile, group: list[IndexedFile]) -> None:
        for row in group:
            # What is not the file's own leaves no trace in its size or time when it is over.
            size = -1 if broken.passing else row.size
            self._add(row._replace(size=size, status="broken", reason=broken.reason))

    def _add(self, row: IndexedFile) -> None:
        self.rows.append(row._replace(indexed_at=time.time()))
        if len(self.rows) >= BATCH_VIDEOS or time.monotonic() - self.begun > BATCH_SECONDS:
            self.commit()

    def commit(self) -> None:
        tables, rows = self.tables, self.rows
        self.tables, self.rows, self.begun = [], [], time.monotonic()
        if tables:
            store.append_segments(self.place, tables)
        if rows:
            store.write_files(self.place, rows)
