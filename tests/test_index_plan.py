"""Which places a path lies below."""

from __future__ import annotations

from pathlib import Path

import pytest

from reelseek.index.plan import below, is_below


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
