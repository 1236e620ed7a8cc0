"""`reelseek serve` under 200 clients at once: every answer 200 or 429, memory flat, how long an answer takes.

Draws clips, indexes them with the offline model and starts the server as a user would. Every client asks, takes its
answer, waits up to a fifth of a second and asks again; none heeds Retry-After. Clients and server share the machine.
Run: python benchmarks/serve_load.py [--minutes 5] [--clients 200]; writes benchmarks/results/serve_load.json, and ends
with 1 where an answer was neither 200 nor 429 or memory grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 200), "sand": (210, 190, 140)}
WORDS = ("a red square", "grass", "the sea at night", "sand", "a dog", "two people walking", "snow", "a green field")
MIX = {"search": 50, "thumb": 20, "status": 15, "similar": 5, "curve": 5, "feedback": 5}
GROWTH = 1.05
"""Memory at the end over memory after a minute, at most; allocators never give everything back."""


class Tally:
    """What came back: status and seconds of every request, by what was asked."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float]] = []

    def add(self, what: str, status: str, seconds: float) -> None:
        self.rows.append((what, status, seconds))


def draw(folder: Path, count: int) -> None:
    noise = np.random.default_rng(0)
    names = list(COLOURS)
    for number in range(count):
        with av.open(str(folder / f"film {number:02d}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=8)
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            for frame in range(96):
                colour = np.array(COLOURS[names[(number + frame // 32) % len(names)]])
                pixels = np.clip(colour + noise.integers(-20, 20, (96, 160, 3)), 0, 255).astype(np.uint8)
                at = (frame * 3 + number * 7) % 120
                pixels[30:60, at : at + 30] = 255 - colour
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())


async def visit(client: httpx.AsyncClient, tally: Tally, seed: int, until: float) -> None:
    dice = random.Random(seed)
    known: list[dict[str, Any]] = []
    while time.monotonic() < until:
        what = dice.choices(list(MIX), list(MIX.values()))[0]
        what = what if known or what == "status" else "search"
        hit, words = dice.choice(known or [{}]), dice.choice(WORDS)
        asks: dict[str, Callable[[], Any]] = {
            "search": lambda q=words: client.get("/api/search", params={"q": q, "k": 12}),
            "thumb": lambda h=hit: client.get(f"/thumb/{h['id']}", params={"t": h["peak"]}),
            "status": lambda: client.get("/api/status"),
            "similar": lambda h=hit: client.get("/api/similar", params={"id": h["id"], "t": h["peak"]}),
            "curve": lambda h=hit, q=words: client.get("/api/curve", params={"id": h["id"], "q": q}),
            "feedback": lambda h=hit, q=words: client.post(
                "/api/feedback", json={"q": q, "id": h["id"], "t": h["peak"], "good": dice.choice([True, False, None])}
            ),
        }
        begun = time.perf_counter()
        try:
            answer = await asks[what]()
            status = str(answer.status_code)
        except httpx.HTTPError as error:
            status = type(error).__name__
        tally.add(what, status, time.perf_counter() - begun)
        if what == "search" and status == "200":
            known = answer.json()["hits"]
        await asyncio.sleep(dice.uniform(0, 0.2))


async def load(address: str, process: int, clients: int, minutes: float) -> tuple[Tally, list[tuple[float, float]]]:
    tally, memory = Tally(), []
    begun = time.monotonic()
    until = begun + 60 * minutes

    async def watch() -> None:
        while time.monotonic() < until:
            memory.append((round(time.monotonic() - begun, 1), resident(process)))
            await asyncio.sleep(min(10.0, 6 * minutes))

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60, trust_env=False) as client:
        await asyncio.gather(watch(), *(visit(client, tally, seed, until) for seed in range(clients)))
    memory.append((round(time.monotonic() - begun, 1), resident(process)))
    return tally, memory


def resident(process: int) -> float:
    """Megabytes of memory that a process holds (Linux)."""
    line = next(x for x in Path(f"/proc/{process}/status").read_text().splitlines() if x.startswith("VmRSS:"))
    return round(int(line.split()[1]) / 1024, 1)


def summary(tally: Tally, memory: list[tuple[float, float]], minutes: float) -> dict[str, Any]:
    answered = {what: [s for w, status, s in tally.rows if w == what and status == "200"] for what in MIX}
    refused = [seconds for _, status, seconds in tally.rows if status == "429"]
    after_a_minute = next((held for at, held in memory if at >= min(60.0, 12 * minutes)), memory[-1][1])
    statuses = Counter(status for _, status, _ in tally.rows)
    return {
        "requests": len(tally.rows),
        "by_status": dict(sorted(statuses.items())),
        "by_route": {
            what: dict(sorted(Counter(status for w, status, _ in tally.rows if w == what).items())) for what in MIX
        },
        "answers_a_second": round(statuses["200"] / (60 * minutes), 1),
        "milliseconds_of_200": {what: quantiles(seconds) for what, seconds in answered.items() if seconds},
        "milliseconds_of_429": quantiles(refused) if refused else {},
        "memory_mb": {"start": memory[0][1], "after_a_minute": after_a_minute, "end": memory[-1][1]},
        "memory_mb_over_time": memory,
        "only_200_and_429": set(statuses) <= {"200", "429"},
        "memory_flat": memory[-1][1] <= GROWTH * after_a_minute,
    }


def quantiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{p}": round(1000 * float(np.percentile(seconds, p)), 1) for p in (50, 95, 99)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--clips", type=int, default=8)
    options = parser.parse_args()
    reelseek = [sys.executable, "-m", "reelseek"]
    with tempfile.TemporaryDirectory() as place:
        films, index = Path(place, "films"), Path(place, "films.index")
        films.mkdir()
        draw(films, options.clips)
        subprocess.run([*reelseek, "index", str(films), "--index", str(index)], check=True)
        serve = [*reelseek, "serve", "--index", str(index), "--port", "0"]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = server.stdout.readline().split()[5]
                httpx.get(f"{address}api/search", params={"q": "a dog"}, timeout=60, trust_env=False).raise_for_status()
                tally, memory = asyncio.run(load(address, server.pid, options.clients, options.minutes))
            finally:
                server.terminate()
    results = {
        "date": date.today().isoformat(),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))},
        "python": platform.python_version(),
        "setup": {**vars(options), "mix": MIX, "pause_seconds": [0, 0.2]},
        "results": summary(tally, memory, options.minutes),
    }
    path = Path(__file__).parent / "results" / "serve_load.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    found = results["results"]
    for key, value in found.items():
        if key != "memory_mb_over_time":
            print(f"{key:24s} {value}")
    return 0 if found["only_200_and_429"] and found["memory_flat"] else 1


if __name__ == "__main__":
    sys.exit(main())
