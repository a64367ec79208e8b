"""The web pages that may open a WebSocket connection, by their origin.

A browser lets every page open a WebSocket connection to every address that the visitor's machine can reach, and names
the page's origin in the header `Origin`. Programs send no such header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from qcore.display import printable
from qcore.errors import ConfigError

#: What a browser sends for a page that has no origin, such as one from a file.
_NO_ORIGIN: Final = "null"

_ANY: Final = "*"

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE | re.ASCII,
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class AllowedOrigins:
    """A set of origins.

    Args:
        texts: origins such as `http://127.0.0.1:8000`; `null`; or `*`, which allows every page.

    Raises:
        ConfigError: a text is none of these; the message begins with the name of the setting.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        if isinstance(texts, str):  # it is iterable, too
            raise ConfigError(f"allow_origins is one text; give a list of texts: [{texts!r}]")
        texts = list(texts)
        self._allows_any = _ANY in texts
        self._origins = {canonical_origin(text) for text in texts}
        if None in self._origins:
            wrong = next(text for text in texts if canonical_origin(text) is None)
            raise ConfigError(
                f"allow_origins: {printable(repr(wrong))} is not an origin: write scheme://host or "
                "scheme://host:port without a path, such as http://127.0.0.1:8000; null for pages from files; or * for "
                "every page"
            )

    def problem(self, origins: Iterable[str]) -> str:
        """Why a request with these headers `Origin` is refused; empty if it is not."""
        if self._allows_any:
            return ""
        for origin in origins:
            canonical = canonical_origin(origin)
            if canonical is None or canonical == _ANY:
                return f"{printable(repr(origin))} is not an origin"
            if canonical not in self._origins:
                return (
                    f"web pages of {printable(origin)} may not use this node; start it with --allow-origin "
                    f"{printable(canonical)} if you trust every page of that origin"
                )
        return ""


def canonical_origin(text: str) -> str | None:
    """The one spelling of an origin; None if the text is not one."""
    if text in (_NO_ORIGIN, _ANY):
        return text
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host = match["scheme"].lower(), match["host"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)
    if port is not None and not 1 <= port <= 65535:
        return None
    return (
        f"{scheme}://{host}"
        if port in (None, _DEFAULT_PORTS.get(scheme))
        else f"{scheme}://{host}:{port}"
    )
