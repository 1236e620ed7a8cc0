"""Which places a path lies below."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelseek.index.plan import below, is_below, with_folders


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
