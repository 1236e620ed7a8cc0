"""Who may ask the search page's server, and what every answer carries: token, host names, headers, error sentences.

Without a token the server answers to loopback names only, so that a web page elsewhere cannot reach it by pointing its
own name at this machine. Nothing here knows of searches or files.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelseek.app.loopback import is_loopback

MOST_BODY = 512 << 10
"""Bytes of a body that is no picture: a judgement of the longest query fits."""
_TURNING = frozenset(["LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"])
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Refuses strangers and bodies that nobody asked for, and adds the security headers to every answer.

    A body is bounded by its stated length; searches take pictures and bound them themselves.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token
        # A cookie comes along to every port of this host: servers tell theirs apart, and no other learns the token.
        self._cookie = f"reelseek-{_digest(token or '', 'name')[:8]}", _digest(token or "", "value")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a stranger itself, and passes everyone else on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        request = Request(scope)
        answer = self._refusal(request) or _too_much(request) if scope["path"] != "/healthz" else None
        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        if _from_elsewhere(request):
            return sentence(403, "This server takes nothing from other sites' pages.")
        if self._token is None:
            host, origin = request.headers.get("host", ""), request.headers.get("origin", "")
            name = _host_name(host)
            if not (name and is_loopback(name)):
                return sentence(403, "This server answers to localhost only.")
            if request.method not in ("GET", "HEAD") and origin and not origin.endswith(f"//{host}"):
                return sentence(403, "This server takes nothing from other sites' pages.")
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        cookie, value = self._cookie
        bearer = scheme.lower() == "bearer"
        if _same(given, self._token) if bearer else _same(request.cookies.get(cookie, ""), value):
            return None
        if request.url.path == "/" and _same(request.query_params.get("token", ""), self._token):
            # the cookie takes over, so that the token leaves the address bar; videos cannot send a header
            answer = RedirectResponse("/", 303)
            answer.set_cookie(cookie, value, httponly=True, samesite="lax", secure=request.url.scheme == "https")
            return answer
        return sentence(401, "A token is needed: open this server's address with /?token= and the token.")


def _from_elsewhere(request: Request) -> bool:
    """Whether a page of another site, or of another port of this host, has sent this; a link that is followed may be.

    Such a page cannot read the answer, but it could keep the server busy, and the cookie comes along between ports.
    """
    if request.headers.get("sec-fetch-site", "") not in ("cross-site", "same-site"):
        return False
    return request.method not in ("GET", "HEAD") or request.headers.get("sec-fetch-dest") != "document"


def _same(offered: str, secret: str) -> bool:
    return hmac.compare_digest(offered.encode(), secret.encode())


def _digest(token: str, use: str) -> str:
    return hmac.digest(token.encode(), f"reelseek cookie's {use}".encode(), "sha256").hex()


def _too_much(request: Request) -> Response | None:
    if request.method in ("GET", "HEAD") or request.url.path.endswith("/api/search"):
        return None
    if "transfer-encoding" in request.headers:
        return sentence(411, "State the length of the body.")
    if int(request.headers.get("content-length", 0)) > MOST_BODY:
        return sentence(413, f"The body has more than {MOST_BODY >> 10} KB.")
    return None


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def sentence(status: int, words: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error answer: {"error": words}."""
    return JSONResponse({"error": shown(words)}, status, dict(headers or {}))


def shown(value: object) -> str:
    """A string that JSON can carry and a reader can trust.

    Characters that turn the direction of writing (they can make name.exe read as another type), control characters and
    bytes of a file name that are no text become escapes.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(_escaped(character) if _hides(character) else character for character in text)


def _hides(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in _TURNING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
