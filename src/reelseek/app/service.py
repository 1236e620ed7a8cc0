"""One index behind the HTTP interface: what the routes ask of it, and the service that `reelseek serve` gives them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from reelseek.app.guard import shown
from reelseek.app.held import LOOK_EVERY, Held, Stamp, unchanged
from reelseek.app.schema import MOST_BROKEN, MOST_FOLDERS
from reelseek.errors import ConfigError, IndexMismatch, NotInIndex
from reelseek.index.ask import Answer, Moments, ask
from reelseek.index.cards import open_index
from reelseek.index.explain import explain
from reelseek.index.explanation import Explanation
from reelseek.index.filters import Filters, Metadata
from reelseek.index.language import note_of
from reelseek.index.library import status
from reelseek.index.loaded import SAME_TIME, Loaded, located, video_of
from reelseek.index.marks import Mark, drop_mark, keep_mark, read_marks
from reelseek.index.progress import indexing_now
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.index.seen import Curve, curve
from reelseek.index.similar import similar
from reelseek.index.spoken import Said, Spoken, said_now
from reelseek.index.subtitles import version, with_cues
from reelseek.records import Hit


class Judged(NamedTuple):
    """A mark, and the path under which the index holds its content now; None where it does not any more."""

    mark: Mark
    path: str | None


class SearchService(Protocol):
    """What the routes need of an index. All may be called from any thread.

    metadata: the table that `Filters.where` is about, None where there is none. content: see the method of this name,
    as it was when a hit named the file; all that take it raise NotInIndex where the index holds another one now.
    """

    metadata: Metadata | None

    def ask(
        self,
        query: Query,
        k: int,
        *,
        filters: Filters,
        moments: Moments,
        collapse: bool,
        variety: float,
        subtitles: bool,
    ) -> Sequence[Answer]:
        """See `reelseek.index.ask.ask`; subtitles: look the text up in those of the index too.

        ValueError: a query that cannot be used.
        """
        ...

    def similar(
        self,
        query: Query,
        k: int,
        *,
        filters: Filters,
        moments: Moments,
        collapse: bool,
        variety: float,
        content: str,
    ) -> Sequence[Answer]:
        """See `reelseek.index.similar.similar`."""
        ...

    def explain(
        self, query: str, path: str, peak: float, *, span: tuple[float, float] | None, content: str
    ) -> Explanation:
        """Why the hit with this path, peak and span, if it is known, has its score.

        NotInIndex; ValueError: a query that cannot be used.
        """
        ...

    def curve(self, query: str, path: str, *, content: str) -> Curve:
        """See `reelseek.index.seen.curve`."""
        ...

    def status(self) -> Mapping[str, Any]:
        """The index and its model.

        Keys: those of `reelseek.index.library.status`, of `broken` at most the first `MOST_BROKEN`; broken_count;
        folders (list of (path, videos), at most `MOST_FOLDERS`, those of the most videos); folder_count; probability
        (bool); subtitles (int, files of them with words to look up); indexing (None or
        `reelseek.index.progress.Indexing`).
        """
        ...

    def judge(
        self,
        query: str,
        path: str,
        peak: float,
        good: bool | None,
        *,
        span: tuple[float, float] | None,
        content: str,
    ) -> Judged | None:
        """Keep whether a hit is what was meant, or take that back (None).

        span: of the hit, in seconds; None for its frame alone, or to take back all that was said on that frame. Of a
        content that is known it can be taken back wherever that is now. Raises NotInIndex where there is no such frame,
        ConfigError for a span that the video does not hold.
        """
        ...

    def judged(self) -> Sequence[Judged]:
        """All that was kept and not taken back, oldest first."""
        ...

    def note(self, query: Query, *, filters: Filters, subtitles: bool) -> str:
        """What to mind of a search, such as that its query is in a language that the model does not know; "" for
        nothing.
        """
        ...

    def named(self, text: str) -> str:
        """The file or folder of the index that `reelseek.app.guard.shown` shows in this way; else the text itself."""
        ...

    def content(self, path: str) -> str:
        """The hash of what the index holds under a path; "" where it holds nothing there."""
        ...

    def stamps(self, path: str, content: str) -> Collection[Stamp]:
        """See `reelseek.app.held.Held.stamps`; as the index is now, whether it was searched since or not."""
        ...


def open_service(
    directory: str | Path,
    *,
    model: str = "",
    device: str = "auto",
    metadata: Metadata | None = None,
    probability: bool = False,
) -> Service:
    """The service of an index on disk, with the model that made it; model: its place, if that has moved.

    Raises as `reelseek.index.cards.open_index` and `reelseek.app.models.method_of_index`.
    """
    from reelseek.app.models import method_of_index

    def opened(asked: str) -> Searcher:
        index = open_index(Path(directory))
        return Searcher(index, method_of_index(index, asked, device))

    def again() -> Searcher:
        try:
            return opened("")
        except IndexMismatch:
            # the model that this was started with may be the one that has moved
            if not model:
                raise
            return opened(model)

    return Service(opened(model), again=again, metadata=metadata, probability=probability)


class Service:
    """The `SearchService` of an index on disk.

    What `reelseek index` adds is picked up, another model that it switches to as well. again: opens the index with the
    model that it now has. One search runs at a time.
    """

    def __init__(
        self,
        searcher: Searcher,
        again: Callable[[], Searcher] | None = None,
        *,
        metadata: Metadata | None = None,
        probability: bool = False,
    ) -> None:
        self.metadata = metadata
        self._searcher = searcher
        self._again = again
        self._probability = probability
        self._said: Said | None = None
        self._subtitles: tuple[tuple[int, int], int] = (0, 0), 0
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._held = Held(searcher.index.directory)
        if probability:
            searcher.calibrate()
        self._look()

    def ask(self, query: Query, k: int, *, subtitles: bool = False, **how: Any) -> list[Answer]:
        """The best `k` places."""
        with self._lock:
            self._renew()
            return ask(self._searcher, query, k, spoken=self._spoken() if subtitles else None, **how)

    def similar(self, query: Query, k: int, *, content: str | None = None, **how: Any) -> list[Answer]:
        """The best `k` places like a moment of the index."""
        with self._lock:
            self._renew()
            if query.frame is not None:
                _same(self._searcher.loaded, str(query.frame.path), content)
            return similar(self._searcher, query, k, **how)

    def explain(
        self,
        query: str,
        path: str,
        peak: float,
        *,
        span: tuple[float, float] | None = None,
        content: str | None = None,
    ) -> Explanation:
        """Why the hit with this path, peak and span has its score."""
        with self._lock:
            _same(self._searcher.loaded, path, content)
            if span is None:
                return explain(self._searcher, query, [(path, peak)])[0]
            return explain(self._searcher, query, [Hit(path, *span, 0.0, peak)])[0]

    def curve(self, query: str, path: str, *, content: str | None = None) -> Curve:
        """A sentence along one video."""
        with self._lock:
            _same(self._searcher.loaded, path, content)
            return curve(self._searcher, query, path)

    def status(self) -> Mapping[str, Any]:
        """The index and its model as they are now, or were when the last search began that still runs."""
        running = indexing_now(self._searcher.index.directory)
        # each commit of a running indexing would have all background queries scored again
        wanted = running is None or not self._probability
        if wanted and time.monotonic() - self._looked > LOOK_EVERY and self._lock.acquire(blocking=False):
            try:
                self._renew()
            finally:
                self._lock.release()
        now = version(self._searcher.index.directory)
        if self._subtitles[0] != now:
            self._subtitles = now, with_cues(self._searcher.index.directory)
        return {**self._status, "subtitles": self._subtitles[1], "indexing": running}

    def note(self, query: Query, *, filters: Filters, subtitles: bool) -> str:
        """What to mind of a search: the query's language, rows of the table that name no file; "" for nothing."""
        spoken = subtitles and self._said is not None and bool(self._said[1].sidecars)
        notes = [note_of(query, self._searcher.method, spoken=spoken)]
        if filters.where and filters.metadata is not None:
            notes.append(filters.metadata.note(self._searcher.loaded.files))
        return " ".join(filter(None, notes))

    def judge(
        self,
        query: str,
        path: str,
        peak: float,
        good: bool | None,
        *,
        span: tuple[float, float] | None = None,
        content: str | None = None,
    ) -> Judged | None:
        """Keep a mark, or take it back."""
        directory, loaded = self._searcher.index.directory, self._searcher.loaded
        if good is None:
            drop_mark(directory, query, _same(loaded, path) if content is None else content, peak, span)
            return None
        content = _same(loaded, path, content)
        place = located(loaded, path, peak)
        start, end = span or (peak, peak)
        if not 0 <= start <= end <= place.duration + SAME_TIME:
            raise ConfigError(f"{start:g} to {end:g} s: {path} lasts {place.duration:g} s.")
        mark = Mark(query, path, content, start, end, peak, good, time.time())
        keep_mark(directory, mark)
        return Judged(mark, path)

    def judged(self) -> list[Judged]:
        """All marks that count."""
        loaded = self._searcher.loaded
        paths = dict(zip(loaded.contents_V, loaded.paths_V, strict=True))

        def path_now(mark: Mark) -> str | None:
            file = loaded.files.get(mark.path)
            same = file is not None and file.content_hash == mark.content_hash
            return mark.path if same else paths.get(mark.content_hash)

        return [Judged(mark, path_now(mark)) for mark in read_marks(self._searcher.index.directory)]

    def content(self, path: str) -> str:
        """The hash of what the index holds under a path; "" where it holds nothing there."""
        file = self._searcher.loaded.files.get(path)
        return "" if file is None else file.content_hash

    def stamps(self, path: str, content: str) -> Collection[Stamp]:
        """Sizes and times of change with which a resolved path was indexed with this content hash."""
        return self._held.stamps(path, content)

    def refresh(self) -> None:
        """Take up what was indexed, or switched to, since the last question."""
        with self._lock:
            self._renew()

    def readable(self, path: str) -> Path | None:
        """The file of the index under this very path, links resolved; None where none is, or not as it was indexed."""
        try:
            return unchanged(path, self.content(path), self.stamps)[0]
        except NotInIndex:
            return None

    def named(self, text: str) -> str:
        """The file or folder of the index that `reelseek.app.guard.shown` shows in this way; else the text itself."""
        return self._named.get(text, text)

    def _spoken(self) -> Spoken:
        self._said = said_now(self._searcher.index.directory, self._said)
        return self._said[1]

    def _renew(self) -> None:
        try:
            renewed = self._searcher.reload()
        except IndexMismatch:
            if self._again is None:
                raise
            self._searcher, renewed = self._again(), True
            if self._probability:
                self._searcher.calibrate()
        self._looked = time.monotonic()
        if renewed:
            self._look()

    def _look(self) -> None:
        files = self._held.look()
        good = [file for file in files if file.status == "ok"]
        folders = Counter(file.path.parent for file in good)
        paths = {str(file.path) for file in good}
        self._named = {
            shown(place): str(place)
            for path in paths
            if shown(path) != path
            for place in (Path(path), *Path(path).parents)
            if shown(place) not in paths
        }
        known = status(self._searcher, files)
        self._status = {
            **known,
            "broken": known["broken"][:MOST_BROKEN],
            "broken_count": len(known["broken"]),
            "folder_count": len(folders),
            "folders": sorted((str(Path(path)), count) for path, count in folders.most_common(MOST_FOLDERS)),
            "probability": self._probability,
        }


def _same(loaded: Loaded, path: str, content: str | None = None) -> str:
    """The content hash of a file of the index. Raises NotInIndex, also where it is not `content`, if that is given."""
    now = loaded.contents_V[video_of(loaded, path)]
    if content is not None and content != now:
        raise NotInIndex(f"{path}: another video lies there now. Search again.")
    return now
