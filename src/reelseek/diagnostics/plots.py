"""Pictures of diagnostics: how a sample looks, and how its values moved over the epochs of a run.

matplotlib without a display. Not here: what is measured (`reelseek.diagnostics.values`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from reelseek.diagnostics.values import Samples

COLOURS = ("#2b6cb0", "#c05621", "#4a5568")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "reelseek",
    "figure.constrained_layout.use": True,
}
COLUMNS = 3

CURVES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("gradient conflict at the texts", (("conflict", "1 - |sum| / sum of lengths"),)),
    ("cosines between pairs of one text", (("gradient_cosine", "gradients"), ("direction_cosine", "increments"))),
    ("modality gap", (("modality_gap", "text to video"), ("corrected_modality_gap", "with increments"))),
    ("alignment of true pairs", (("alignment", "text to video"), ("corrected_alignment", "with increments"))),
    ("uniformity", (("uniformity_text", "texts"), ("uniformity_video", "videos"))),
)
"""Title of each panel over epochs, and its values with their labels; lengths of increments have one of their own."""

Panel = Callable[[Axes], None]


def diagnostics_figure(
    found: Samples | None = None,
    bound: Sequence[Mapping[str, float]] = (),
    history: Sequence[Mapping[str, float]] = (),
) -> Figure:
    """One panel for each thing there is: a sample's values, R@1 under ideal increments, and curves over epochs.

    bound: rows with "radius" and "R@1", the first of radius 0 and with "method_R@1". history: one mapping an epoch,
    with "epoch" and the values by name. Raises ValueError when nothing is given.
    """
    panels: list[Panel] = [*_sample_panels(found)]
    if bound:
        panels.append(partial(_bound_panel, rows=bound))
    panels += _curve_panels(history)
    if not panels:
        raise ValueError("there is nothing to draw: no sample, no bound and no epochs.")
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * columns, 2.7 * rows))
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            panel(axes)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        # Laid out and drawn in this style, whatever it is saved under later.
        figure.canvas.draw()
    return figure


def figure_bytes(figure: Figure, kind: Literal["png", "svg"] = "png") -> bytes:
    """A picture as a file's content."""
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def _sample_panels(found: Samples | None) -> list[Panel]:
    if found is None:
        return []
    named: list[tuple[str, Tensor | None, str]] = [
        ("gradient conflict of each text", found.conflict_T, "1 - |sum| / sum of lengths"),
        ("cosine between a text's gradients", found.gradient_cosine_T, "mean over pairs of videos"),
        ("cosine between a text's increments", found.direction_cosine_T, "mean over pairs of videos"),
        ("length of increments", found.lengths_TV, "length"),
    ]
    return [
        partial(_histogram, values=values, title=title, label=label)
        for title, values, label in named
        if values is not None
    ]


def _histogram(axes: Axes, *, values: Tensor, title: str, label: str) -> None:
    flat = values.flatten().numpy()
    axes.hist(flat, bins=30, color=COLOURS[0])
    axes.axvline(float(flat.mean()), color=COLOURS[1], linewidth=1.4, label=f"mean {float(flat.mean()):.3g}")
    axes.set(title=title, xlabel=label, ylabel="count")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.legend()


def _bound_panel(axes: Axes, *, rows: Sequence[Mapping[str, float]]) -> None:
    radii, recalls = [row["radius"] for row in rows], [row["R@1"] for row in rows]
    axes.plot(radii, recalls, color=COLOURS[0], marker="o", markersize=3, label="ideal increments (told the answer)")
    axes.axhline(rows[0]["method_R@1"], color=COLOURS[1], linewidth=1.4, label="the method")
    axes.set(title="R@1 of the sample", xlabel="radius / length of texts", ylabel="R@1, %", ylim=(0, 103))
    axes.legend(loc="lower right")


def _curve_panels(history: Sequence[Mapping[str, float]]) -> list[Panel]:
    panels: list[Panel] = []
    for title, series in CURVES:
        present = [(name, label) for name, label in series if any(name in epoch for epoch in history)]
        if present:
            panels.append(partial(_curves, history=history, title=title, series=present))
    if any("length_mean" in epoch for epoch in history):
        panels.append(partial(_length_curve, history=history))
    return panels


def _curves(
    axes: Axes, *, history: Sequence[Mapping[str, float]], title: str, series: Sequence[tuple[str, str]]
) -> None:
    for colour, (name, label) in zip(COLOURS, series, strict=False):
        points = [(epoch["epoch"], epoch[name]) for epoch in history if name in epoch]
        axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=2.5, label=label)
    _over_epochs(axes, title)


def _length_curve(axes: Axes, *, history: Sequence[Mapping[str, float]]) -> None:
    epochs = [epoch for epoch in history if "length_mean" in epoch]
    at = [epoch["epoch"] for epoch in epochs]
    low, high = ([epoch[name] for epoch in epochs] for name in ("length_05", "length_95"))
    axes.fill_between(at, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label="5 % to 95 %")
    axes.plot(
        at, [epoch["length_mean"] for epoch in epochs], color=COLOURS[0], marker="o", markersize=2.5, label="mean"
    )
    _over_epochs(axes, "length of increments by epoch")


def _over_epochs(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend()
