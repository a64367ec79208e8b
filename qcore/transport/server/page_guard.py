"""`PageGuard`: which requests for the HTTP pages are answered.

A web page may let its own host name stand for the address of a node (DNS rebinding). The browser then takes the node's
pages for pages of that site, lets the site read them, and sends no `Origin`. Only `Host` shows the name. A name that
the node does not know is therefore refused. An IP address is no name, so it cannot be rebound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from websockets.datastructures import Headers

from qcore.display import printable
from qcore.errors import ConfigError
from qcore.runtime.resolver import is_ip
from qcore.transport.server.handler import HttpResponse
from qcore.transport.server.origins import AllowedOrigins

_LOCAL: Final = "localhost"

_HOST: Final = re.compile(
    r"(\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII
)
_NAME: Final = re.compile(r"[a-z0-9._-]+", re.IGNORECASE | re.ASCII)

#: What `Sec-Fetch-Site` says of a request that no other page made.
_OWN: Final = frozenset({"same-origin", "none"})


class PageGuard:
    """Refuses requests for pages that another web page made.

    Args:
        own: the hosts at which the node listens or is reached.
        hosts: more names of the node, without a port. IP addresses and `localhost` need no mention.
        origins: the web pages that may read this node's pages.
        open_paths: the paths that everyone may request.
        documents: the paths of pages that hold no data: everyone may request them, also by a link of another site, but
            only by a known name.

    Raises:
        ConfigError: a text of `hosts` is not a name; the message begins with the name of the setting.
    """

    def __init__(
        self,
        own: Iterable[str],
        hosts: Iterable[str],
        origins: AllowedOrigins,
        open_paths: Iterable[str] = (),
        documents: Iterable[str] = (),
    ) -> None:
        if isinstance(hosts, str):  # it is iterable, too
            raise ConfigError(f"allow_hosts is one text; give a list of texts: [{hosts!r}]")
        self._hosts = {_LOCAL, *map(_canonical, own), *map(_checked, hosts)}
        self._origins = origins
        self._open_paths = frozenset(open_paths)
        self._documents = frozenset(documents)

    def is_open(self, path: str) -> bool:
        """Whether this path needs no user."""
        return path in self._open_paths or path in self._documents

    def knows(self, host: str) -> bool:
        """Whether this header `Host` names this node, or is an IP address."""
        return not self._host_problem(host)

    def refusal(self, path: str, headers: Headers) -> HttpResponse | None:
        """The response to a request that is not allowed; None if it is allowed."""
        if path in self._open_paths:
            return None
        hosts = headers.get_all("Host")
        problem = self._host_problem(hosts[0] if len(hosts) == 1 else "")
        if problem:
            return HttpResponse(HTTPStatus.MISDIRECTED_REQUEST, f"{problem}\n")
        if path in self._documents:
            return None
        origins = headers.get_all("Origin")
        problem = self._origins.problem(origins)
        if not origins and not _OWN.issuperset(headers.get_all("Sec-Fetch-Site")):
            problem = "web pages of other sites may not request this page"
        return HttpResponse(HTTPStatus.FORBIDDEN, f"{problem}\n") if problem else None

    def _host_problem(self, host: str) -> str:
        match = _HOST.fullmatch(host)
        if match is None:
            return "the request needs one valid header Host"
        if match["v6"] is not None:
            return "" if is_ip(match["v6"]) else "the header Host is not an IP address"
        name = match["name"]
        if is_ip(name) or _canonical(name) in self._hosts:
            return ""
        return (
            f"this node does not know the host name {printable(name)}; if it is a name of this node, start the node "
            f"with --allow-host {printable(name)}"
        )


def _canonical(host: str) -> str:
    return host.lower().removesuffix(".")


def _checked(host: str) -> str:
    if not _NAME.fullmatch(host):
        raise ConfigError(
            f"allow_hosts: {printable(repr(host))} is not a host name: write it without scheme and port, such as "
            "node1.example.org"
        )
    return _canonical(host)
