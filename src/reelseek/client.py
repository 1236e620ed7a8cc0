"""A client of `reelseek serve`: its HTTP interface as typed functions, over the standard library alone.

    from reelseek.client import Client

    library = Client("http://127.0.0.1:8765")
    for hit in library.search("a dog on a beach", k=5).hits:
        print(hit.name, hit.start, hit.end, hit.score)

Answers are the models that the server's schema is made from (`reelseek.app.schema`). Not here: the server.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from reelseek.app.loopback import is_loopback
from reelseek.app.pictures import MOST_BYTES, kind_of
from reelseek.app.schema import (
    CurveAnswer,
    ExplainAnswer,
    FeedbackAnswer,
    FeedbackList,
    Judgement,
    Kept,
    Place,
    SearchAnswer,
    StatusAnswer,
)
from reelseek.app.token import check_token
from reelseek.errors import ConfigError, ServerError

Answer = TypeVar("Answer", bound=BaseModel)
BUSY = 429


class Client:
    """A server at an address. May be shared by threads.

    token: what the server was started with. timeout: seconds that one answer may take. retries: how often a request
    is sent again, a second later, that the server was too busy for. Proxies of the environment are used, but not for
    this machine's own names.
    Raises ConfigError for an address or a token that cannot be one.
    Every method raises ServerError, with a sentence, for what the server refuses and where none answers.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8765",
        token: str | None = None,
        *,
        timeout: float = 60.0,
        retries: int = 5,
    ) -> None:
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
            raise ConfigError(f"{address!r} is no address of a server: write it as http://127.0.0.1:8765.")
        check_token(token or "")
        self.address = address.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout = timeout
        self._retries = retries
        # a proxy would be shown the token and what is looked for, and would look for this machine's name on its own
        own = is_loopback(urlsplit(address).hostname or "")
        self._opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if own else []))

    def search(self, text: str = "", k: int = 24, *, picture: Path | None = None, **asked: Any) -> SearchAnswer:
        """Places by words, by an image or video file, or both.

        asked: the other fields of `reelseek.app.schema.Asked`, and with a clip `clip_start` and `clip_end` in seconds.
        Raises ConfigError for a picture that cannot be read, is neither image nor video by its name, or is too large.
        """
        words = {"q": text, "k": k, **asked}
        if picture is None:
            return self._get("/api/search", words, SearchAnswer)
        return self._ask("POST", "/api/search", words, SearchAnswer, *_picture(picture))

    def similar(self, place: Place, k: int = 24, **asked: Any) -> SearchAnswer:
        """Places like a hit, which itself is left out. asked: other fields of `reelseek.app.schema.Asked`."""
        return self._get("/api/similar", {"id": place.id, "t": place.peak, "k": k, **asked}, SearchAnswer)

    def explain(self, text: str, place: Place) -> ExplainAnswer:
        """Why a hit of a sentence has its score."""
        asked = {"q": text, "id": place.id, "t": place.peak, "start": place.start, "end": place.end}
        return self._get("/api/explain", asked, ExplainAnswer)

    def curve(self, text: str, place: Place) -> CurveAnswer:
        """The cosine of a sentence with every stored frame of a hit's video."""
        return self._get("/api/curve", {"q": text, "id": place.id}, CurveAnswer)

    def status(self) -> StatusAnswer:
        """The index and its model."""
        return self._get("/api/status", {}, StatusAnswer)

    def feedback(self, text: str, place: Place, good: bool | None) -> Kept | None:
        """Say whether a hit is what was meant; None takes that back. Returns what is kept of it now."""
        said = Judgement(q=text, id=place.id, t=place.peak, start=place.start, end=place.end, good=good)
        body = said.model_dump_json().encode()
        return self._ask("POST", "/api/feedback", {}, FeedbackAnswer, body, "application/json").kept

    def judged(self) -> list[Kept]:
        """All feedback that is kept, oldest first."""
        return self._get("/api/feedback", {}, FeedbackList).kept

    def thumbnail(self, place: Place) -> bytes:
        """A JPEG of a hit's best frame."""
        return self._send("GET", f"/thumb/{quote(place.id)}", {"t": place.peak}, None, "")

    def _get(self, route: str, asked: Mapping[str, Any], answer: type[Answer]) -> Answer:
        return self._ask("GET", route, asked, answer, None, "")

    def _ask(
        self, verb: str, route: str, asked: Mapping[str, Any], answer: type[Answer], body: bytes | None, kind: str
    ) -> Answer:
        said = self._send(verb, route, asked, body, kind)
        try:
            return answer.model_validate_json(said)
        except ValidationError:
            raise ServerError(
                f"{self.address} answers in another way than this version expects: use the server's own version."
            ) from None

    def _send(self, verb: str, route: str, asked: Mapping[str, Any], body: bytes | None, kind: str) -> bytes:
        address = f"{self.address}{route}?{urlencode(_plain(asked), doseq=True)}"
        headers = {**self._headers, **({"Content-Type": kind} if body is not None else {})}
        for tries in range(self._retries + 1):
            request = urllib.request.Request(address, body, headers, method=verb)
            try:
                with self._opener.open(request, timeout=self._timeout) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    if error.code != BUSY or tries == self._retries:
                        raise ServerError(_sentence(error)) from None
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error
                if body is not None and isinstance(reason, ConnectionResetError | BrokenPipeError):
                    # what refuses a body may close the connection before all of it is sent, and its sentence is lost
                    raise ServerError(
                        f"{self.address} ended the connection while {len(body):,} bytes were sent ({reason}): it may "
                        "have refused them. See what `status` answers, and send less."
                    ) from None
                raise ServerError(f"{self.address} does not answer ({reason}). Is `reelseek serve` running?") from None
            time.sleep(1.0)
        raise AssertionError("the last try returns or raises")


def _picture(path: Path) -> tuple[bytes, str]:
    """The bytes of an image or video, and their content type."""
    kind = kind_of(path)
    if not kind:
        raise ConfigError(f"{path}: by its name it is neither an image nor a video.")
    name = kind.split("/")[0]
    try:
        if path.stat().st_size > MOST_BYTES[name]:
            raise ConfigError(f"{path}: the {name} has more than {MOST_BYTES[name] >> 20} MB. Send a smaller one.")
        return path.read_bytes(), kind
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None


def _plain(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Values as an address spells them; what is None is left out."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in asked.items()
        if value is not None
    }


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return f"The server answered {error.code} {error.reason}."
