"""The HTTP pages on the node's port: `/livez`, `/readyz`, `/status` and `/metrics`.

They change nothing, so any client that reaches the port may request them.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final, Protocol

from pydantic import JsonValue

from qcore.node.status.exposition import CONTENT_TYPE
from qcore.transport.server.handler import HttpResponse

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"


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

    - `/livez`: 200 while the process runs its event loop.
    - `/readyz`: 200 if this node can serve requests, else 503 and the reason.
    - `/status`: the metrics object as JSON.
    - `/metrics`: Prometheus text exposition.
    """
    match path.partition("?")[0]:
        case "/livez":
            return _response(HTTPStatus.OK, _TEXT, "ok\n")
        case "/readyz":
            reason = view.unready_reason()
            if reason is None:
                return _response(HTTPStatus.OK, _TEXT, "ok\n")
            return _response(HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{reason}\n")
        case "/status":
            body = json.dumps(view.metrics_object(), indent=1)
            return _response(HTTPStatus.OK, _JSON, body + "\n")
        case "/metrics":
            return _response(HTTPStatus.OK, CONTENT_TYPE, view.exposition())
        case other:
            return _response(
                HTTPStatus.NOT_FOUND,
                _TEXT,
                f"no such page: {json.dumps(other)}; there are /livez, /readyz, /status and /metrics, "
                "and the WebSocket at /\n",
            )


def _response(status: HTTPStatus, content_type: str, body: str) -> HttpResponse:
    return HttpResponse(status, body.encode(), content_type)
