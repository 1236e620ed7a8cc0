"""An index as one object: update it, search it. What `reelseek.Index` is.

Not here: how files become segments (`build`), how they are kept (`store`) and searched (`search`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from reelseek.config import IndexConfig
from reelseek.index.ask import Answer, Moments, ask
from reelseek.index.build import IndexReport, update
from reelseek.index.cards import check_model, is_index, open_index
from reelseek.index.explain import explain
from reelseek.index.explanation import Explanation
from reelseek.index.filters import Filters
from reelseek.index.query import Query
from reelseek.index.search import Searcher
from reelseek.index.spoken import Said, Spoken, said_now
from reelseek.index.store import IndexedFile, list_files
from reelseek.records import Hit, Method


class Index:
    """The index in a directory, made and searched by one method.

    Raises NotAnIndex for a directory that holds something else, IndexMismatch for an index that another model made.
    """

    def __init__(self, directory: Path | str, method: Method) -> None:
        self.directory = Path(directory)
        self.method = method
        self._searcher: Searcher | None = None
        self._said: Said | None = None
        if is_index(self.directory):
            check_model(open_index(self.directory), method.id, method.name)

    def update(
        self,
        folders: Path | str | Sequence[Path | str],
        *,
        config: IndexConfig | None = None,
        model_card: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> IndexReport:
        """Bring the index up to date with all videos below one folder or several, or single files.

        It is `reelseek.index.build.update`, which says what is raised.

        model_card: overrides what is kept of the model; "source", the name by which the command line loads it again, is
        known for zero-shot methods and should be given for a run folder.
        """
        # A string is a sequence too: of its letters.
        places = [Path(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]
        card = {**_card(self.method), **(model_card or {})}
        return update(self.directory, places, self.method, model_card=card, config=config, progress=progress)

    def search(self, query: str, k: int = 10, *, moments: bool = False) -> list[Hit]:
        """The best `k` videos, or with `moments` the best spans, best first; what was indexed meanwhile is found.

        After `calibrate` every hit has its probability, in a library of three videos or more.
        """
        return self._current().search(query, k, moments=moments)

    def ask(
        self,
        query: Query,
        k: int = 10,
        *,
        filters: Filters | None = None,
        moments: Moments = "",
        collapse: bool = True,
        variety: float = 0.0,
        subtitles: bool = False,
    ) -> list[Answer]:
        """Queries of more than a sentence, and filters: `reelseek.index.ask.ask`.

        subtitles: look the text up in those that the index holds, too.
        """
        return ask(
            self._current(),
            query,
            k,
            filters=filters,
            moments=moments,
            collapse=collapse,
            variety=variety,
            spoken=self._spoken() if subtitles else None,
        )

    def explain(self, query: str, hits: Sequence[Hit]) -> list[Explanation]:
        """Why each hit of `search(query)` has its score: frames, words and the method's parts.

        Raises as `reelseek.index.explain.explain` does.
        """
        return explain(self._current(), query, hits)

    def calibrate(self) -> Self:
        """Give every hit of a sentence its probability from now on; returns itself.

        It is as good as the model (see the documentation of search);
        `reelseek.index.calibration.nothing_matches` says of hits whether any of them is worth a look.
        """
        self._current().calibrate()
        return self

    def _current(self) -> Searcher:
        if self._searcher is None:
            self._searcher = Searcher(open_index(self.directory), self.method)
        else:
            self._searcher.reload()
        return self._searcher

    def _spoken(self) -> Spoken:
        self._said = said_now(self.directory, self._said)
        return self._said[1]

    def files(self) -> list[IndexedFile]:
        """Every path that the index knows, broken ones with their reasons."""
        return list_files(self.directory)


def status(searcher: Searcher, files: Sequence[IndexedFile]) -> dict[str, Any]:
    """What an index holds, as a page or a program is told it.

    Keys: model, trained_on, directory (str); videos, segments (int); seconds (float, of video); broken (list of
    {path, reason}).
    """
    good = [file for file in files if file.status == "ok"]
    model = searcher.index.model
    return {
        "model": model["name"],
        "trained_on": model.get("trained_on", ""),
        "directory": str(searcher.index.directory),
        "videos": len(good),
        "segments": searcher.segment_count,
        "seconds": sum(file.duration for file in good),
        "broken": [{"path": str(file.path), "reason": file.reason} for file in files if file.status != "ok"],
    }


def _card(method: Method) -> dict[str, Any]:
    settings = getattr(method, "config", {})
    backbone = str(settings.get("backbone", ""))
    return {
        "name": f"{method.name} over {backbone}" if backbone else method.name,
        "source": backbone if method.name == "zero-shot" else "",
        "backbone": backbone,
        "trained_on": str(getattr(method, "trained_on", "")),
    }
