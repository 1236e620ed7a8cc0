"""What the server counts, read at `/metrics`: requests by route and status, seconds, the line, memory.

A route is counted by its pattern, never by the address: addresses hold ids and queries.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from fastapi import FastAPI
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelseek.app.line import CLIENT_LEFT
from reelseek.app.service import SearchService
from reelseek.errors import ReelseekError

CONTENT = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """One server's numbers. waiting: how many searches stand in line, the running one included."""

    def __init__(self, service: SearchService, waiting: Callable[[], int]) -> None:
        self._service = service
        self.registry = CollectorRegistry()
        # memory, processor time and open files, where the system tells them
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "reelseek_requests", "Answers by route and status.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "reelseek_request_seconds", "From a request to the end of its answer.", ["route"],
            buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        Gauge("reelseek_line", "Searches that run or wait.", registry=self.registry).set_function(waiting)
        self._videos = Gauge("reelseek_videos", "Videos of the index.", registry=self.registry)
        self._segments = Gauge("reelseek_segments", "Segments of the index.", registry=self.registry)

    def text(self) -> bytes:
        """All numbers in Prometheus' text format."""
        # an index that cannot be read is seen by its 503s
        with suppress(ReelseekError):
            known = self._service.status()
            self._videos.set(known["videos"])
            self._segments.set(known["segments"])
        return generate_latest(self.registry)


class Counted:
    """Counts every request that passes."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and counts its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = CLIENT_LEFT, time.perf_counter()

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except Exception:
            status = 500
            raise
        finally:
            # refused before any route was found, or the page's own files
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begun)


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
    """The route, and the counting of every other."""
    app.add_middleware(Counted, metrics=metrics)

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def read() -> Response:
        """Numbers of this server in Prometheus' text format."""
        text = await run_in_threadpool(metrics.text)
        return Response(text, media_type=CONTENT, headers={"Cache-Control": "no-store"})
