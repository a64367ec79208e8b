"""`PageOrigins`: which web pages may open a WebSocket connection to this node.

| page | may connect, because |
|---|---|
| of an allowed origin | the operator trusts it (`--allow-origin`) |
| of this node | it came from this host and port, by a name that the node knows |
| of a member | it came from the address that the configuration has for the member |

A browser names the host that it has dialled in `Host`, and the origin of the page that asked for it in `Origin`. Both
agree for a page of this node, and also if another site lets its own name stand for this node (DNS rebinding). So the
name must be known, too. The host alone is not enough: another program on the same computer has another port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from websockets.datastructures import Headers

from qcore.transport.server.origins import AllowedOrigins, canonical_origin
from qcore.transport.server.page_guard import PageGuard


class PageOrigins:
    """Decides by the headers of a request.

    Args:
        allowed: the origins that the operator trusts.
        guard: knows the names of this node; None: pages of this node may not connect.
        uses_tls: whether this node uses TLS. Then only pages that came over TLS are pages of a node.
        members: returns the addresses `host:port` in the configuration.
    """

    def __init__(
        self,
        allowed: AllowedOrigins,
        guard: PageGuard | None,
        *,
        uses_tls: bool,
        members: Callable[[], Iterable[str]],
    ) -> None:
        self._allowed = allowed
        self._guard = guard
        self._scheme = "https" if uses_tls else "http"
        self._members = members

    def problem(self, headers: Headers) -> str:
        """Why a request with these headers is refused; empty if it is not. Only browsers send `Origin`."""
        origins = headers.get_all("Origin")
        problem = self._allowed.problem(origins)
        if not problem or len(origins) != 1:
            return problem
        origin = canonical_origin(origins[0])
        is_known = origin is not None and (
            origin == self._own(headers.get_all("Host"))
            or any(origin == self._origin_of(address) for address in self._members())
        )
        return "" if is_known else problem

    def _own(self, hosts: list[str]) -> str | None:
        """The origin of this node's pages, by the name that the browser uses; None if the node does not know it."""
        if self._guard is None or len(hosts) != 1 or not self._guard.knows(hosts[0]):
            return None
        return self._origin_of(hosts[0])

    def _origin_of(self, host: str) -> str | None:
        return canonical_origin(f"{self._scheme}://{host}")
