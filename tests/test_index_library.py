"""The index as one object."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import FakeMethod
from reelseek import Index
from reelseek.errors import IndexMismatch, NotAnIndex


def test_update_search_update_again(colours: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", FakeMethod())
    report = index.update([colours])
    assert (report.added, len(report.broken)) == (3, 0)
    assert [Path(hit.path).stem for hit in index.search("something green", 1)] == ["green"]
    (colours / "green.mp4").unlink()
    assert index.update([str(colours)]).removed == 1
    assert {Path(hit.path).stem for hit in index.search("something green")} == {"red", "blue"}
    assert [file.path.stem for file in index.files()] == ["blue", "red"]


@pytest.mark.parametrize("kind", [str, Path])
def test_one_folder_may_stand_alone(colours: Path, tmp_path: Path, kind: type[str] | type[Path]) -> None:
    index = Index(tmp_path / "index", FakeMethod())
    assert index.update(kind(colours)).added == 3
    assert index.update((colours / "red.mp4", str(colours / "blue.mp4"))).unchanged == 2


def test_another_model_and_another_directory_are_refused(colours: Path, tmp_path: Path) -> None:
    Index(tmp_path / "index", FakeMethod()).update([colours])
    other = FakeMethod()
    other.id = "fake-2"
    with pytest.raises(IndexMismatch):
        Index(tmp_path / "index", other)
    with pytest.raises(NotAnIndex):
        Index(colours, FakeMethod())
