"""`GatewayApp`: the ASGI application. It finds the operation for a path, and turns each error into a response."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from qcore.errors import QcoreError
from qcore.gateway.cluster_facts import API_VERSION, ClusterFacts
from qcore.gateway.cluster_users import ClusterUsers
from qcore.gateway.etcd_errors import (
    COMPACTED,
    INTERNAL,
    REQUEST_TOO_LARGE,
    STOPPED,
    EtcdError,
    InvalidRequest,
    etcd_error,
)
from qcore.gateway.gateway_metrics import GatewayMetrics
from qcore.gateway.json_forms import Fields, message, read_json, write_json
from qcore.gateway.json_stream import Disconnected, objects_of
from qcore.gateway.machine_access import Machine
from qcore.gateway.operations import lease_operations
from qcore.gateway.operations.key_operations import (
    DeleteRequest,
    PutRequest,
    TxnRequest,
    delete,
    put,
    txn,
)
from qcore.gateway.operations.ranges_of_keys import RangeRequest, range_message, read_range
from qcore.gateway.operations.watch_stream import WatchStream

logger = logging.getLogger("qcore.gateway")

_PREFIXES: Final = ("/v3", "/v3beta")
_ROOTS: Final = tuple(f"{prefix}/" for prefix in _PREFIXES)
_JSON: Final = "application/json"
_TEXT: Final = "text/plain"

#: An operation of a user: returns the response without its header, and the revision of the header.
Operation = Callable[[Machine, Fields], Awaitable[tuple[dict[str, object], int]]]


async def _put(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    return await put(machine, PutRequest.read(fields))


async def _delete(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    return await delete(machine, DeleteRequest.read(fields))


async def _txn(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    return await txn(machine, TxnRequest.read(fields))


async def _range(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    found = await read_range(machine, RangeRequest.read(fields))
    return range_message(found, {}), found.revision


async def _compact(machine: Machine, fields: Fields) -> tuple[dict[str, object], int]:
    """End the history before a revision. `physical` changes nothing: the machine compacts when it applies this."""
    fields.flag("physical")
    revision = fields.integer("revision")
    if revision <= 0:
        status = await machine.read({"op": "status"})
        if status["compacted"]:
            raise EtcdError(*COMPACTED)
        return {}, int(status["revision"])
    done = await machine.write({"op": "compact", "revision": revision})
    return {}, int(done["revision"])


_OPERATIONS: Final[Mapping[str, Operation]] = {
    "/kv/range": _range,
    "/kv/put": _put,
    "/kv/deleterange": _delete,
    "/kv/txn": _txn,
    "/kv/compaction": _compact,
    "/lease/grant": lease_operations.grant,
    "/lease/revoke": lease_operations.revoke,
    "/kv/lease/revoke": lease_operations.revoke,
    "/lease/timetolive": lease_operations.time_to_live,
    "/kv/lease/timetolive": lease_operations.time_to_live,
    "/lease/leases": lease_operations.leases,
    "/kv/lease/leases": lease_operations.leases,
}


class GatewayApp:
    """The requests of the gateway.

    Args:
        users: the clients.
        facts: about the cluster.
        most_bytes: the largest body of a request.
    """

    def __init__(self, users: ClusterUsers, facts: ClusterFacts, most_bytes: int) -> None:
        self._users = users
        self._facts = facts
        self._most_bytes = most_bytes
        self._metrics = GatewayMetrics()
        self._streams: dict[asyncio.Task[None], None] = {}
        self._is_stopping = False

    def asgi(self) -> Starlette:
        """The application for a server."""
        routes = [
            Route("/version", self._version, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._metrics_page, methods=["GET"]),
        ]
        for prefix in _PREFIXES:
            for path, operation in _OPERATIONS.items():
                routes.append(
                    Route(
                        prefix + path, self._unary(self._with_header(operation)), methods=["POST"]
                    )
                )
            for path, answer in (
                ("/maintenance/status", self._status),
                ("/cluster/member/list", self._member_list),
                ("/auth/authenticate", self._authenticate),
            ):
                routes.append(Route(prefix + path, self._unary(answer), methods=["POST"]))
            for path, work in (
                ("/lease/keepalive", self._keep_alive),
                ("/kv/lease/keepalive", self._keep_alive),
                ("/watch", self._watch),
            ):
                stream = Route(prefix + path, _Stream(self, work))
                routes.append(stream)
        made = Starlette(routes=routes, exception_handlers={404: _plain, 405: _plain})
        made.router.redirect_slashes = False
        return made

    async def stop(self) -> None:
        """End all streams. Their clients see a complete response, and connect elsewhere."""
        self._is_stopping = True
        for task in self._streams:
            task.cancel()

    # -- one request, one response ---------------------------------------------------------------

    def _with_header(
        self, operation: Operation
    ) -> Callable[[Fields, str | None], Awaitable[dict[str, object]]]:
        async def answer(fields: Fields, token: str | None) -> dict[str, object]:
            async with self._users.machine(token) as machine:
                await self._facts.learn(machine)
                body, revision = await operation(machine, fields)
                return {**body, "header": self._facts.header(revision)}

        return answer

    def _unary(
        self, answer: Callable[[Fields, str | None], Awaitable[dict[str, object]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            began = time.monotonic()
            response = await respond(request)
            seconds = time.monotonic() - began
            self._metrics.answered(request.url.path, response.status_code, seconds)
            return response

        async def respond(request: Request) -> Response:
            token = token_of(request.headers)
            try:
                body = await answer(Fields(read_json(await self._body(request))), token)
            except EtcdError as error:
                return _failed(error)
            except QcoreError as error:
                return _failed(etcd_error(error, has_token=token is not None))
            except ClientDisconnect:
                return Response(status_code=499)  # no client reads it
            except Exception:
                logger.exception("a request to %s has failed", request.url.path)
                return _failed(EtcdError(*INTERNAL))
            header = body.pop("header", None)
            ordered = body if header is None else {"header": header, **body}
            return Response(write_json(ordered), media_type=_JSON)

        return endpoint

    async def _body(self, request: Request) -> str:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._most_bytes:
                raise EtcdError(*REQUEST_TOO_LARGE)
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("the body is not UTF-8") from None

    async def _status(self, fields: Fields, token: str | None) -> dict[str, object]:
        async with self._users.machine(token) as machine:
            return await self._facts.status(machine)

    async def _member_list(self, fields: Fields, token: str | None) -> dict[str, object]:
        await self._facts.learn()
        return self._facts.member_list()

    async def _authenticate(self, fields: Fields, token: str | None) -> dict[str, object]:
        issued = await self._users.log_in(fields.text("name"), fields.text("password"))
        await self._facts.learn()
        return message(header=self._facts.header(None), token=issued)

    async def _version(self, request: Request) -> Response:
        body = {"etcdserver": API_VERSION, "etcdcluster": API_VERSION}
        return Response(write_json(body), media_type=_JSON)

    async def _metrics_page(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def _health(self, request: Request) -> Response:
        async with self._users.machine(None) as machine:
            healthy = await self._facts.is_healthy(machine)
        body = write_json({"health": "true" if healthy else "false"})
        return Response(body, 200 if healthy else 503, media_type=_TEXT)

    # -- streams ---------------------------------------------------------------------------------

    async def _keep_alive(self, machine: Machine, stream: _Answers) -> None:
        async for value in stream.objects(self._most_bytes):
            body, revision = await lease_operations.keep_alive(machine, Fields(value))
            await stream.send({"header": self._facts.header(revision), **body})

    async def _watch(self, machine: Machine, stream: _Answers) -> None:
        watches = WatchStream(machine, self._facts, stream.send, self._metrics.watches)
        try:
            async for value in stream.objects(self._most_bytes):
                await watches.take(Fields(value))
            await stream.until_disconnected()
        finally:
            await watches.close()

    async def run_stream(
        self, path: str, headers: Mapping[str, str], stream: _Answers, work: _Work
    ) -> None:
        """Do the work of a stream to its end, and report its error."""
        task = asyncio.current_task()
        assert task is not None
        token = token_of(headers)
        self._streams[task] = None
        self._metrics.streams.inc()
        try:
            if self._is_stopping:
                raise EtcdError(*STOPPED)
            async with self._users.machine(token) as machine:
                await self._facts.learn(machine)
                await work(machine, stream)
            await stream.end()
        except EtcdError as error:
            await stream.fail(error)
        except QcoreError as error:
            await stream.fail(etcd_error(error, has_token=token is not None))
        except Disconnected:
            pass
        except Exception:
            logger.exception("a stream has failed")
            await stream.fail(EtcdError(*INTERNAL))
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            task.uncancel()
            await stream.end()
        finally:
            del self._streams[task]
            self._metrics.streams.dec()
            self._metrics.answered(path, stream.status, None)


_Work = Callable[[Machine, "_Answers"], Awaitable[None]]


class _Answers:
    """The two directions of one stream.

    Args:
        receive, send: of ASGI.

    Attributes:
        status: of the response.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._has_begun = False
        self.status = 200

    def objects(self, most: int) -> AsyncIterator[object]:
        """The messages of the client."""
        return objects_of(self._receive, most)

    async def until_disconnected(self) -> None:
        """Wait until the client closes the connection.

        Raises:
            Disconnected: it has.
        """
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise Disconnected

    async def send(self, answer: dict[str, object]) -> None:
        """Send one message to the client."""
        await self._write({"result": answer})

    async def fail(self, error: EtcdError) -> None:
        """Report an error, and end the stream."""
        error = error.in_stream if isinstance(error, InvalidRequest) else error
        if not self._has_begun:
            await self._begin(error.status)
            await self._send({"type": "http.response.body", "body": write_json(error.to_json())})
            return
        await self._write({"error": error.to_stream_json()})
        await self.end()

    async def end(self) -> None:
        """End the response."""
        if not self._has_begun:
            await self._begin(200)
        with contextlib.suppress(OSError):
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, value: dict[str, object]) -> None:
        if not self._has_begun:
            await self._begin(200)
        line = write_json(value) + b"\n"
        try:
            await self._send({"type": "http.response.body", "body": line, "more_body": True})
        except OSError:
            raise Disconnected from None

    async def _begin(self, status: int) -> None:
        self._has_begun, self.status = True, status
        headers = [(b"content-type", _JSON.encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


class _Stream:
    """An endpoint whose response is a stream."""

    def __init__(self, app: GatewayApp, work: _Work) -> None:
        self._app = app
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            refused = PlainTextResponse("Method Not Allowed\n", 405, {"Allow": "POST"})
            await refused(scope, receive, send)
            return
        answers = _Answers(receive, send)
        await self._app.run_stream(scope["path"], Headers(scope=scope), answers, self._work)


def without_browsers(app: ASGIApp) -> ASGIApp:
    """Reject the requests of web pages: any page of another site could write to a gateway on its reader's computer.

    A browser says `Origin` with each POST. Programs do not.
    """

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "origin" in Headers(scope=scope):
            refused = PlainTextResponse("The gateway does not serve web pages.\n", 403)
            await refused(scope, receive, send)
        else:
            await app(scope, receive, send)

    return checked


def token_of(headers: Mapping[str, str]) -> str | None:
    """The token of a request. etcd's clients send it alone, others write `Bearer` before it."""
    given = headers.get("authorization", "").strip()
    kind, _, rest = given.partition(" ")
    if kind.lower() == "bearer":
        given = rest.strip()
    return given or None


async def _plain(request: Request, error: Exception) -> Response:
    """The response to an unknown path or a wrong method."""
    assert isinstance(error, HTTPException), "the handler is for statuses"
    is_other = error.status_code == 404 and not request.url.path.startswith(_ROOTS)
    text = "404 page not found" if is_other else error.detail
    return PlainTextResponse(f"{text}\n", error.status_code, error.headers)


def _failed(error: EtcdError) -> Response:
    return Response(write_json(error.to_json()), error.status, media_type=_JSON)
