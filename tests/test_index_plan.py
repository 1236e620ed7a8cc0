"""Which files are gone, whose disk may be, and which places a path lies below."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reelseek.index.plan import Emptied, as_planned, below, is_below, make_plan, with_folders
from reelseek.index.store import IndexedFile


@pytest.mark.parametrize(
    ("path", "places", "inside"),
    [
        ("/v/a.mp4", ["/v/a.mp4"], True),
        ("/v/a.mp4", ["/v"], True),
        ("/v/a.mp4", ["/"], True),
        ("/v/a.mp4", ["/w", "/v/"], True),
        ("/v/a.mp4", ["/v/a"], False),
        ("/va/a.mp4", ["/v"], False),
        ("/v", ["/v/a.mp4"], False),
        ("/v/a.mp4", [], False),
    ],
)
def test_below_is_the_place_itself_or_inside_of_it(path: str, places: list[str], inside: bool) -> None:
    assert below([Path(place) for place in places])(Path(path)) is inside
    assert is_below(Path(path), [Path(place) for place in places]) is inside
    assert any(str(Path(place)) in with_folders([Path(path)]) for place in places) is inside


def test_the_places_of_many_paths_are_those_that_one_of_them_is_below() -> None:
    paths = [Path("/v/a/b/c.mp4"), Path("/v/a/d.mp4"), Path("/v/a b.mp4"), Path("/w.mp4")]
    places = {*paths, *(above for path in paths for above in path.parents)}
    assert with_folders(paths) == {str(place) for place in places}
    for other in (Path("/v/a/b/c"), Path("/v/a/x"), Path("/x"), Path("/v/a b")):
        assert not any(is_below(path, [other]) for path in paths)
        assert str(other) not in with_folders(paths)
    assert with_folders([]) == set()


def known(path: Path) -> IndexedFile:
    return IndexedFile(path, 4, 5, str(path), 1.0, "ok", "", 0.0)


def test_a_file_is_as_planned_while_its_size_and_time_are(tmp_path: Path) -> None:
    film = tmp_path / "a.avi"
    film.write_bytes(b"four")
    os.utime(film, (5, 5))
    planned = make_plan([], [film], {}, [tmp_path]).groups[0][0]
    assert as_planned(planned)
    os.utime(film, (6, 6))
    assert not as_planned(planned)
    film.write_bytes(b"other")
    os.utime(film, (5, 5))
    assert not as_planned(planned)
    film.unlink()
    assert not as_planned(planned)


def test_files_of_a_folder_that_is_a_file_now_are_gone(tmp_path: Path) -> None:
    (tmp_path / "films").write_text("a note")
    plan = make_plan([known(tmp_path / "films" / "a.avi")], [], {}, [tmp_path])
    assert (plan.kept, plan.removed, list(plan.emptied)) == ([], 1, [])


def test_empty_folders_are_told_in_order_with_how_many_files_they_keep(tmp_path: Path) -> None:
    folders = [tmp_path / f"disk {number}" for number in range(6)]
    rows = [known(folder / f"{n}.avi") for number, folder in enumerate(folders) for n in range(number + 1)]
    for folder in folders:
        folder.mkdir()
    plan = make_plan(rows[::-1], [], {}, [tmp_path])
    assert plan.kept == rows[::-1]
    assert (plan.removed, list(plan.emptied)) == (0, [Emptied(folder, n) for n, folder in enumerate(folders, 1)])
