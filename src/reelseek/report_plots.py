"""The figures of a report as SVG text that follows the page's colours, light or dark.

matplotlib draws with stand-in colours; `inline` swaps them for CSS variables of the page: --ink, --muted, --line
and --c0 to --c7. No name from outside is drawn: the page writes names beside a figure, where HTML escapes them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SERIES = 8  # colours that the page defines; later series repeat them with another dash pattern
_INK, _MUTED, _LINE = "#010203", "#010204", "#010205"
_COLOURS = tuple(f"#0102{16 + number:02x}" for number in range(SERIES))
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))
_SIZE = (4.2, 2.7)  # inches at 72 points: one column of the page, so that letters keep their size
_MOST_POINTS = 500
_BINS = ((1, 1, "1"), (2, 5, "2-5"), (6, 10, "6-10"), (11, 50, "11-50"), (51, np.inf, "over 50"))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reelseek",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-3, 5),
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


def curve_plot(series: Mapping[int, Sequence[tuple[float, float]]], *, label: str, ident: str) -> str:
    """One line a run over training steps; keys are the runs' numbers, which choose colour and dash."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes()
        for number, points in series.items():
            steps, values = zip(*points, strict=True)
            # a single measurement has no line to show it
            axes.plot(steps, values, **line_style(number), marker="o" if len(points) == 1 else None)
        axes.set_xlabel("step")
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return inline(figure, label, ident)


def cumulative_plot(ranks: Mapping[int, Sequence[float]], *, label: str, ident: str) -> str:
    """Percent of queries whose right answer is at rank k or better, over k on a logarithmic axis."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes()
        last = max(max(values) for values in ranks.values())
        for number, values in ranks.items():
            places, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
            share = 100 * np.cumsum(counts) / counts.sum()
            axes.step(
                np.r_[min(1.0, places[0]), places, last], np.r_[0.0, share, 100.0], where="post", **line_style(number)
            )
        axes.set_xscale("log")
        axes.set_ylim(0, 102)
        axes.set_xlabel("rank k")
        axes.set_ylabel("% of queries")
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if tick <= last]
        axes.set_xticks(ticks if len(ticks) < 8 else ticks[::3], minor=False)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        return inline(figure, label, ident)


def rank_plot(ranks: Mapping[int, Sequence[float]], *, label: str, ident: str) -> str:
    """Percent of queries in five bands of rank, one bar a run in each."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes()
        width = 0.84 / len(ranks)
        for place, (number, values) in enumerate(ranks.items()):
            # half a rank (ties counted by their mean) belongs to the band it has reached
            whole = np.floor(np.asarray(values, dtype=float))
            shares = [100 * np.mean((whole >= low) & (whole <= high)) for low, high, _ in _BINS]
            middle = np.arange(len(_BINS)) - 0.42 + width * (place + 0.5)
            axes.bar(middle, shares, width * 0.9, color=_COLOURS[number % SERIES])
        axes.set_xticks(range(len(_BINS)), [name for _, _, name in _BINS])
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("rank of the right answer")
        axes.set_ylabel("% of queries")
        return inline(figure, label, ident)


def similarity_plot(rows: Sequence[Sequence[float | None]], *, label: str, ident: str) -> str:
    """The score of every text (row) with every video (column)."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes((4.2, 3.5))
        values = np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=float)
        picture = axes.imshow(values, cmap="viridis", interpolation="nearest", aspect="auto")
        axes.grid(visible=False)
        axes.set_xlabel("video")
        axes.set_ylabel("text")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
        bar = figure.colorbar(picture, ax=axes, shrink=0.9, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.grid(visible=False)
        return inline(figure, label, ident)


def gap_plot(
    points_text: Sequence[tuple[float, float]], points_video: Sequence[tuple[float, float]], *, label: str, ident: str
) -> str:
    """Texts and videos as two clouds in the plane, thinned evenly above 500 points each."""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes((4.2, 3.2))
        for number, marker, points in ((0, "o", points_text), (1, "^", points_video)):
            thinned = points[:: max(1, -(-len(points) // _MOST_POINTS))]
            if thinned:
                across, up = zip(*thinned, strict=True)
                axes.scatter(across, up, s=16, marker=marker, color=_COLOURS[number], alpha=0.55, lw=0)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        axes.tick_params(length=0)
        return inline(figure, label, ident)


def new_axes(size: tuple[float, float] = _SIZE) -> tuple[Figure, Axes]:
    """An empty figure of one column of the page; draw in it under `STYLE`."""
    figure = Figure(figsize=size)
    return figure, figure.subplots()


def line_style(number: int) -> dict[str, Any]:
    """Colour and dash of a series by its number."""
    return {"color": _COLOURS[number % SERIES], "linestyle": _DASHES[number // SERIES % len(_DASHES)]}


def inline(figure: Figure, label: str, ident: str) -> str:
    """The figure as an <svg> element without a fixed size, its ids made unique by `ident`, its colours the page's."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, dpi=220, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    svg = buffer.getvalue()
    body = svg[svg.index("<svg") :]
    width, height = _found(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"font(-family)?: [^;\"]*'DejaVu Sans'[^;\"]*", _own_font, body)
    body = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{ident}-", body).replace("xlink:href", "href")
    for colour, name in _swaps():
        body = body.replace(colour, f"var(--{name})")
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" class="plot">{body}'


def _own_font(match: re.Match[str]) -> str:
    """The page's font instead of matplotlib's, keeping the size where the shorthand carries it."""
    size = re.search(r"[\d.]+px", match.group())
    return f"font-size: {size.group()}; font-family: inherit" if size else "font-family: inherit"


def _found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    assert match is not None, f"matplotlib wrote an SVG without {pattern}"
    return match.groups()


def _swaps() -> Iterable[tuple[str, str]]:
    yield from ((_INK, "ink"), (_MUTED, "muted"), (_LINE, "line"))
    yield from ((colour, f"c{number}") for number, colour in enumerate(_COLOURS))
