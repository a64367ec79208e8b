"""`Resolver`: looks up host names in daemon threads. A hanging name server blocks neither the event loop nor an exit.

asyncio looks names up in its default executor. The end of the event loop joins the executor's threads, so a look-up
that hangs keeps the process alive. IP addresses need no look-up and never wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from qcore.errors import TransportError

#: The most look-ups that run at the same time; others wait.
MAX_THREADS: Final = 8

#: The addresses of a host, or why there are none.
LookupResult = list[str] | OSError | UnicodeError


def is_ip(host: str) -> bool:
    """Whether the host is an IP address in its usual form, which needs no look-up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class _Lookup:
    """One look-up of a host, shared by all callers that need this host meanwhile."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.waiting: list[Callable[[LookupResult], None]] = []


class Resolver:
    """Looks up host names in threads, at most one look-up per host at a time.

    Any event loop of the process may use it.

    Args:
        max_threads: the most look-ups that run at the same time.
    """

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self._lock = threading.Lock()
        self._running: dict[str, _Lookup] = {}
        self._queue: deque[_Lookup] = deque()
        self._threads = 0

    async def addresses(self, host: str, timeout_s: float) -> list[str]:
        """The IP addresses of a host, in order of preference. For an IP address it is that address.

        Raises:
            TransportError: there is no such host, or no answer in time; the text names the host.
        """
        if is_ip(host):
            return [host]
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[LookupResult] = loop.create_future()

        def settle(found: LookupResult) -> None:
            if not answer.done():
                answer.set_result(found)

        def deliver(found: LookupResult) -> None:
            with contextlib.suppress(RuntimeError):  # the event loop is closed, so no caller waits
                loop.call_soon_threadsafe(settle, found)

        self._ask(host, deliver)
        try:
            async with asyncio.timeout(timeout_s):
                found = await answer
        except TimeoutError:
            raise TransportError(
                f"cannot look up the host {host!r}: no answer from the name service within {timeout_s:g} s"
            ) from None
        finally:
            self._stop_waiting(host, deliver)
        if isinstance(found, list):
            return found
        raise TransportError(f"cannot look up the host {host!r}: {found}") from None

    def is_resolving(self, host: str) -> bool:
        """Whether a look-up of this host runs or is queued."""
        with self._lock:
            return host in self._running

    def _ask(self, host: str, deliver: Callable[[LookupResult], None]) -> None:
        with self._lock:
            look_up = self._running.get(host)
            if look_up is None:
                look_up = self._running[host] = _Lookup(host)
                self._queue.append(look_up)
                if self._threads < self._max_threads:
                    self._threads += 1
                    threading.Thread(target=self._work, name="qcore-resolver", daemon=True).start()
            look_up.waiting.append(deliver)

    def _stop_waiting(self, host: str, deliver: Callable[[LookupResult], None]) -> None:
        """Forget one waiting caller. A look-up that has not begun and has no callers left is dropped."""
        with self._lock:
            look_up = self._running.get(host)
            if look_up is None or deliver not in look_up.waiting:
                return
            look_up.waiting.remove(deliver)
            if not look_up.waiting and look_up in self._queue:
                self._queue.remove(look_up)
                del self._running[host]

    def _work(self) -> None:
        """Run look-ups in this thread until the queue is empty."""
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                look_up = self._queue.popleft()
            found = _lookup(look_up.host)
            with self._lock:
                del self._running[look_up.host]
                waiting, look_up.waiting = look_up.waiting, []
            for deliver in waiting:
                deliver(found)


def _lookup(host: str) -> LookupResult:
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: IDNA cannot encode the name
        return error
    addresses = [str(info[4][0]) for info in infos]
    return list(dict.fromkeys(addresses))


#: The resolver of this process.
resolver: Final = Resolver()
