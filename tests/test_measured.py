"""Numbers that were chosen by measuring: whoever changes one measures again, and says so here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reelseek.encoders import compiled
from reelseek.index import alike, calibration, moments
from reelseek.score import calibrate
from reelseek.video import shots

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_the_curve_of_a_probability_is_what_was_fitted() -> None:
    fitted = result("calibration_settings")
    assert tuple(round(value, 1) for value in fitted["all"]) == (calibrate.SLOPE, calibrate.EVEN)
    assert pytest.approx(fitted["doubt"]) == calibration.DOUBT


def test_the_same_footage_begins_where_it_was_measured() -> None:
    assert result("alike")["same"] == alike.SAME


def test_shots_are_cut_where_it_was_measured() -> None:
    assert shots.CUT == 0.55
    assert all(f"{shots.CUT:.2f}" in films["at"] for films in result("shots"))


def test_what_is_noise() -> None:
    assert moments.ALIKE == 0.01
    assert compiled.TOLERANCE == 1e-4
