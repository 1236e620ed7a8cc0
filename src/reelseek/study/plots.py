"""The figures of a study as SVG text in the page's colours; the page writes the names of the series beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.ticker import MaxNLocator, NullLocator

from reelseek.report_plots import STYLE, inline, line_style, new_axes

_WIDE, _FEW = 8.0, 8
_TICKS = tuple(digit * 10.0**power for power in range(-1, 6) for digit in (1, 3))


class Point(NamedTuple):
    """A place on a line, and half the length of its bar (0 for none)."""

    x: float
    y: float
    spread: float = 0.0


def lines_plot(series: Sequence[Sequence[Point]], *, across: str, up: str, label: str, ident: str) -> str:
    """One line a series over a number, in the order that chooses colour and dash; bars are standard deviations.

    A few numbers that span a factor of 8 or more, without 0, stand on a logarithmic axis.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes()
        for number, points in enumerate(series):
            if points:
                xs, ys, spreads = zip(*points, strict=True)
                marker = "o" if len(points) < _FEW else None
                axes.errorbar(xs, ys, yerr=spreads if any(spreads) else None, **line_style(number), marker=marker, ms=4)
        places = sorted({point.x for points in series for point in points})
        if len(places) < _FEW:
            if places[0] > 0 and places[-1] / places[0] >= _WIDE:
                axes.set_xscale("log")
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(places, [f"{place:g}" for place in places])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        return inline(figure, label, ident)


def cost_plot(points: Sequence[Point], *, up: str, label: str, ident: str) -> str:
    """One point a series: milliseconds a training step against a metric, with its standard deviation."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes()
        for number, point in enumerate(points):
            colour = line_style(number)["color"]
            marker = ("o", "^", "s")[number // 8 % 3]
            axes.errorbar(point.x, point.y, yerr=point.spread or None, color=colour, marker=marker, ms=6, lw=1.2)
        low, high = min(point.x for point in points), max(point.x for point in points)
        if high > _WIDE * low:
            axes.set_xscale("log")
            axes.set_xticks([tick for tick in _TICKS if low / 1.5 <= tick <= high * 1.5])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.set_xlabel("milliseconds a training step")
        axes.set_ylabel(up)
        return inline(figure, label, ident)
