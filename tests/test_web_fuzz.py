"""Requests made at random from the server's own schema, well-formed and malformed: no answer breaks what it states."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode, checks

from index_fakes import FakeMethod, clip, update
from reelseek.app.service import Service
from reelseek.app.web import create_app
from reelseek.client import Client
from reelseek.index.cards import open_index
from reelseek.index.filters import read_metadata
from reelseek.index.search import Searcher
from reelseek.video.files import thumbnail
from web_fakes import running

VERBS = [
    *("GET /api/search", "POST /api/search", "GET /api/similar", "GET /api/explain", "GET /api/curve"),
    *("GET /api/status", "GET /api/feedback", "POST /api/feedback"),
    *("GET /thumb/{ident}", "GET /video/{ident}", "GET /healthz", "GET /metrics"),
]
WITHOUT_LIMITS = VERBS[5:7] + VERBS[9:]
"""Routes that take nothing, or any text: no request to them is malformed."""
HELD = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
]
EXAMPLES = 25
MANY = 120


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("films")
    clip(folder / "a.avi", ["red", "green"])
    clip(folder / "<b>.avi", ["blue", "white"], seed=1)
    (folder / "about.csv").write_text("video,camera\na,GoPro\n")
    update(folder / "index", folder)
    searcher = Searcher(open_index(folder / "index"), FakeMethod())
    service = Service(searcher, metadata=read_metadata(folder / "about.csv"), probability=True)
    with running(create_app(service, thumbnail=thumbnail)) as address:
        yield address


@pytest.fixture(scope="module")
def schema(address: str) -> Any:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


def pictures() -> list[bytes]:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, "PNG")
    return [file.getvalue(), file.getvalue()[:40], b"", b"\0" * 100]


def test_every_route_is_fuzzed(schema: Any) -> None:
    assert {found.ok().label for found in schema.get_all_operations()} == set(VERBS)


CASES = [
    *((label, GenerationMode.POSITIVE) for label in VERBS),
    *((label, GenerationMode.NEGATIVE) for label in VERBS if label not in WITHOUT_LIMITS),
]


@pytest.mark.parametrize(("label", "mode"), CASES)
def test_no_answer_breaks_the_schema(schema: Any, address: str, label: str, mode: GenerationMode) -> None:
    fuzz(schema, address, label, mode, settings(max_examples=EXAMPLES, derandomize=True))


@pytest.mark.soak
@pytest.mark.parametrize(("label", "mode"), CASES)
def test_no_answer_breaks_the_schema_ever(schema: Any, address: str, label: str, mode: GenerationMode) -> None:
    fuzz(schema, address, label, mode, settings(max_examples=MANY))


def fuzz(schema: Any, address: str, label: str, mode: GenerationMode, much: settings) -> None:
    verb, route = label.split()
    operation = schema[route][verb]
    hits = Client(address).search("red").hits
    known = [{"id": hit.id, "t": hit.peak} for hit in hits]
    checks.load_all_checks()
    refused = ["negative_data_rejection"] if mode is GenerationMode.NEGATIVE else []
    held = checks.CHECKS.get_by_names(HELD + refused)

    # what is found is not made smaller: that takes minutes of requests
    @settings(much, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(
        case=operation.as_strategy(generation_mode=mode),
        hit=st.sampled_from([None, *known]),
        body=st.sampled_from(pictures()),
    )
    def ask(case: Any, hit: dict[str, Any] | None, body: bytes) -> None:
        # at random no id would ever be known
        if hit is not None and mode is GenerationMode.POSITIVE:
            if "{ident}" in route:
                case.path_parameters["ident"] = hit["id"]
            elif "id" in (case.query or {}):
                case.query.update(hit)
            elif route == "/api/feedback" and verb == "POST":
                case.body.update(hit)
        if label == "POST /api/search" and mode is GenerationMode.POSITIVE:
            case.body, case.media_type = body, "image/png"
        case.call_and_validate(checks=held)

    ask()
