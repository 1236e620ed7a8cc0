"""The figures of the report hold the numbers that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from reelseek import report
from reelseek import report_plots as plots

RANKS = [1, 1, 2, 5.5, 6, 10, 11, 50, 51, 812]
DRAWN = {"label": "", "ident": ""}


@pytest.fixture(autouse=True)
def _figures_instead_of_svg(monkeypatch):
    monkeypatch.setattr(plots, "inline", lambda figure, label, ident: figure)


def test_bands_are_shares_of_a_run_s_queries():
    bars = plots.rank_plot({0: RANKS, 3: [1, 1, 7, 900]}, **DRAWN).axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([20, 20, 20, 20, 20, 50, 0, 25, 0, 25])
    assert bars[0].get_facecolor() == to_rgba(plots._COLOURS[0])
    assert bars[5].get_facecolor() == to_rgba(plots._COLOURS[3])


def test_shares_within_the_first_k_rise_to_all():
    axes = plots.cumulative_plot({0: RANKS, 1: [3, 4]}, **DRAWN).axes[0]

    def share(run: int, k: float) -> float:
        ranks, shares = axes.lines[run].get_data()
        assert axes.lines[run].get_drawstyle() == "steps-post"
        return float(shares[np.flatnonzero(ranks <= k)[-1]])

    assert [share(0, k) for k in (1, 2, 5, 5.5, 10, 50, 811, 812)] == pytest.approx([20, 30, 30, 40, 60, 80, 90, 100])
    assert [share(1, k) for k in (1, 2, 3, 4, 812)] == [0, 0, 50, 100, 100]


def test_curves_are_drawn_by_step():
    line, point = plots.curve_plot({0: [(0, 4.5), (10, 3.1)], 9: [(20, 31.0)]}, **DRAWN).axes[0].lines
    assert [values.tolist() for values in line.get_data()] == [[0, 10], [4.5, 3.1]]
    assert (line.get_marker(), point.get_marker()) == ("None", "o")
    assert line.get_linestyle() != point.get_linestyle()  # the ninth run and later have another dash


def test_rows_of_the_scores_are_texts():
    axes = plots.similarity_plot([[0.1, 0.2, None]], **DRAWN).axes[0]
    values = axes.images[0].get_array()
    assert values.shape == (1, 3)
    assert values[0, 1] == 0.2
    assert np.ma.getmaskarray(values).tolist() == [[False, False, True]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("video", "text")


def test_clouds_are_thinned_evenly():
    texts = [(float(number), 0.0) for number in range(1200)]
    first, second = plots.gap_plot(texts, [(1.0, 2.0)], **DRAWN).axes[0].collections
    assert first.get_offsets()[:, 0].tolist() == list(range(0, 1200, 3))
    assert second.get_offsets().tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_lies_on_its_side_of_zero(sign):
    low, high = sorted((sign * 4.0, sign * 12.0))
    comparison = {"a": "one", "b": "two", "metric": "R@1", "difference": sign * 6.0, "low": low, "high": high}
    at = report._verdict(comparison | {"p_value": 0.01, "smallest_detectable": 3.0})["at"]
    assert at == {"low": 50 + 4 * low, "high": 50 + 4 * high, "value": 50 + 4 * sign * 6.0}


def test_a_bar_is_as_long_as_its_number():
    assert [report._percent(value) for value in (-3.0, 0.0, 31.94, 250.0)] == ["0.00", "0.00", "31.94", "100.00"]
