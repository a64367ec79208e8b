"""Clients that stay connected between commands: `qcore shell` runs all its commands with them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.runner import end_interrupted_line

if TYPE_CHECKING:
    from qcore.client.client import Client
    from qcore.security.tls import TlsFiles

#: How long an interrupted command may take to clean up.
_CLEAN_UP_S: Final = 1.0

_T = TypeVar("_T")


class ClientKind(NamedTuple):
    """The settings of a client."""

    endpoints: tuple[str, ...]
    timeout_s: float
    attempt_timeout_s: float
    admin: bool
    tls: TlsFiles | None


class SharedClients:
    """A thread with an event loop, and one client for each kind. Use it as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._clients: dict[ClientKind, Client] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, kind: ClientKind, work: Callable[[Client], Awaitable[_T]]) -> _T:
        """Run `work` with the client of this kind, and return its result.

        Raises:
            typer.Exit: Ctrl-C interrupted the work, and it has cleaned up.
        """

        async def with_shared() -> _T:
            return await work(self._client(kind))

        return self.wait(with_shared())

    def wait(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the loop, and return its result. Raises: as `run`."""
        ended = threading.Event()

        async def followed() -> _T:
            try:
                return await coroutine
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(followed(), self._loop)
        try:
            return future.result()
        except (KeyboardInterrupt, CancelledError) as interrupted:
            if isinstance(interrupted, KeyboardInterrupt):
                end_interrupted_line()
            future.cancel()
            ended.wait(_CLEAN_UP_S)
            raise typer.Exit(ExitCode.INTERRUPTED) from None

    def _client(self, kind: ClientKind) -> Client:
        from qcore.client.client import Client

        if kind not in self._clients:
            self._clients[kind] = Client(
                kind.endpoints,
                timeout_s=kind.timeout_s,
                attempt_timeout_s=kind.attempt_timeout_s,
                admin=kind.admin,
                tls=kind.tls,
            )
        return self._clients[kind]

    async def _close(self) -> None:
        for client in self._clients.values():
            await client.close()
