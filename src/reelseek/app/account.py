"""Why a hit was found, in a few lines of a terminal.

Not here: what is told (`reelseek.index.explain`) and the page's panel (static/why.js).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reelseek.app.terminal import clock, printable
from reelseek.index.explanation import Explanation, FrameShare, IncrementShare, StreamShare, WordShare

BARS = "▁▂▃▄▅▆▇█"
NAMED = 3
"""Frames that are named with their numbers, best first."""
INDENT = "    "
HOW_TO_READ = (
    "frames: what each adds to the score (with the rest and the moment's part, where there are such, they sum to it),\n"
    "or its cosine where the method cannot say. words: how much more each word raises this score than it raises the\n"
    "average score in this index."
)


def account(why: Explanation) -> list[str]:
    """Lines below a hit: a bar a frame, the leading frames, the words, and what the method adds."""
    lines = [_line("frames", _frames(why))]
    if why.rest:
        lines.append(_line("rest", f"{why.rest:+.4f} from no single frame"))
    if why.moment:
        lines.append(_line("moment", f"{why.moment:+.4f} since its segment has a better one"))
    if why.words:
        lines.append(_line("words", "  ".join(_word(word) for word in why.words)))
    if why.increment is not None:
        lines.append(_line("increment", _increment(why.increment, why.score - why.moment)))
    lines += [_line(stream.name, ", ".join(_stream(stream))) for stream in why.streams]
    return lines


def bars(values: Sequence[float]) -> str:
    """A bar a value, from the lowest of eight for 0 and less to the highest for the greatest."""
    most = max(values)
    if most <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(len(BARS) - 1, int(max(value, 0) / most * len(BARS)))] for value in values)


def _line(name: str, text: str) -> str:
    return f"{INDENT}{name:<10}{text}"


def _frames(why: Explanation) -> str:
    leading = sorted(why.frames, key=lambda frame: (frame.inside, _height(frame)), reverse=True)[:NAMED]
    return f"{bars([_height(frame) for frame in why.frames])}  {'  '.join(_frame(frame) for frame in leading)}"


def _height(frame: FrameShare) -> float:
    return frame.cosine if frame.contribution is None else frame.contribution


def _frame(frame: FrameShare) -> str:
    outside = "" if frame.inside else ", outside the span"
    if frame.contribution is None or frame.weight is None:
        return f"{clock(frame.time)} (cosine {frame.cosine:.3f}{outside})"
    numbers = f"cosine {frame.cosine:.3f}, weight {frame.weight:.0%}{outside}"
    return f"{clock(frame.time)} {frame.contribution:+.4f} ({numbers})"


def _word(word: WordShare) -> str:
    text = printable(" ".join(word.text.split()))
    return f"{text if len(text) < 40 else text[:37] + '...'} {word.weight:+.3f}"


def _increment(increment: IncrementShare, score: float) -> str:
    return (
        f"of the {increment.side}: length {increment.length:.3g}, {increment.relative:.0%} of the {increment.side}'s; "
        f"cosine with the gap {increment.gap_cosine:+.2f}; score without it {increment.without:.3f} "
        f"({score - increment.without:+.3f} with it)"
    )


def _stream(stream: StreamShare) -> Iterator[str]:
    yield f"score {stream.score:.3f}"
    yield f"{stream.share:.0%} of the total" if stream.share else "not counted"
    yield f"words: {printable(' '.join(stream.words))}" if stream.words else "the whole query"
    if stream.experts:
        yield "experts " + " ".join(f"{name} {share:.0%}" for name, share in stream.experts.items())
    if stream.increment is not None:
        yield f"increment {_increment(stream.increment, stream.score)}"
