"""The HTTP pages on the node's port: the dashboard at `/`, `/livez`, `/readyz`, `/status` and `/metrics`.

They change nothing. The dashboard holds no data: its scripts ask for them over a WebSocket connection.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final, Protocol

from pydantic import JsonValue

from qcore.node.status.exposition import CONTENT_TYPE
from qcore.pages.dashboard_page import dashboard_page
from qcore.transport.server.handler import HttpResponse

_JSON: Final = "application/json"
_HTML: Final = "text/html; charset=utf-8"


class NodeView(Protocol):
    """What the pages need from the node."""

    def unready_reason(self) -> str | None:
        """Why the node cannot serve requests now; None when it can."""
        ...

    def metrics_object(self) -> dict[str, JsonValue]:
        """The metrics object, as in `GetMetricsResponse`."""
        ...

    def exposition(self) -> str:
        """All counters and gauges in the Prometheus text format."""
        ...


def respond(view: NodeView, path: str) -> HttpResponse:
    """The response to a GET of `path`, whose query is ignored.

    - `/`: the dashboard.
    - `/livez`: 200 while the process runs its event loop.
    - `/readyz`: 200 if this node can serve requests, else 503 and the reason.
    - `/status`: the metrics object as JSON.
    - `/metrics`: Prometheus text exposition.
    """
    match path.partition("?")[0]:
        case "/":
            page = dashboard_page()
            return HttpResponse(HTTPStatus.OK, page.text, _HTML, page.headers)
        case "/livez":
            return HttpResponse(HTTPStatus.OK, "ok\n")
        case "/readyz":
            reason = view.unready_reason()
            if reason is None:
                return HttpResponse(HTTPStatus.OK, "ok\n")
            return HttpResponse(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n")
        case "/status":
            body = json.dumps(view.metrics_object(), indent=1)
            return HttpResponse(HTTPStatus.OK, body + "\n", _JSON)
        case "/metrics":
            return HttpResponse(HTTPStatus.OK, view.exposition(), CONTENT_TYPE)
        case other:
            return HttpResponse(
                HTTPStatus.NOT_FOUND,
                f"no such page: {json.dumps(other)}; there are /, /livez, /readyz, /status and /metrics, "
                "and the WebSocket at /\n",
            )
