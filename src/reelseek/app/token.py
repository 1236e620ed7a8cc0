"""What a server's token may be. Server and client share it."""

from __future__ import annotations

from reelseek.errors import ConfigError


def check_token(token: str) -> None:
    """Raises ConfigError for a token that a header cannot carry."""
    if not (token.isascii() and token.isprintable() and token == token.strip()):
        raise ConfigError(
            "The token holds a character that a header cannot carry, or begins or ends with a space. Give one of ASCII "
            "letters, digits and signs."
        )
