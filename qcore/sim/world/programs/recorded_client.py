"""`RecordedClient`: the `qcore.Client` of a simulated program. It enters its operations into the history of the run.

A checker sees the whole operation, from the call of the method to its result, whatever the client sent meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from qcore.client.client import Client
from qcore.client.endpoints import Connect
from qcore.client.login.credentials import Credentials
from qcore.client.methods.call_options import Consistency, ReadOptions, WriteOptions
from qcore.client.methods.method_base import is_read
from qcore.errors import (
    OutcomeUnknown,
    QcoreError,
    ResultInvalid,
    ResultTooLarge,
)
from qcore.replica.messages import RequestKind
from qcore.runtime.interface import Runtime
from qcore.sim.world.programs.operation_records import OperationRecords, ProgramOperation
from qcore.sim.world.programs.sim_connection import CURRENT_OPERATION
from qcore.sim.world.programs.sim_loop import NotSimulated
from qcore.storage.files.snapshot_file import SnapshotHeader
from qcore.transport.address import Address
from qcore.transport.perform_options import Stale

T = TypeVar("T")
#: JSON; its shape depends on the message.
Json = Any

_READ_KINDS: Final[dict[str, RequestKind]] = {
    "linearizable": "read",
    "lease": "lease_read",
    "follower": "follower_read",
}


class RecordedClient(Client):
    """A client whose operations enter the history.

    Args:
        endpoints: the simulated nodes.
        runtime: the world of the program.
        connect: opens simulated connections.
        records: takes the operations.
        credentials: of the client's user; None for none.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        runtime: Runtime,
        connect: Connect,
        records: OperationRecords,
        credentials: Credentials | None = None,
    ) -> None:
        super().__init__(endpoints, runtime=runtime, connect=connect, credentials=credentials)
        self._records = records

    async def perform(
        self,
        request: Mapping[str, Json],
        *,
        consistency: Consistency | None = None,
        session: Mapping[str, int] | None = None,
        timeout_s: float | None = None,
    ) -> Json:
        """See `ClientMethods.perform`."""
        kind = _read_kind(consistency) if is_read(request) else "write"
        operation = self._records.begin("Perform", {"request": request}, kind, _bound(consistency))
        call = super().perform(
            request, consistency=consistency, session=session, timeout_s=timeout_s
        )
        return await self._recorded(operation, call)

    async def _read(
        self,
        name: str,
        fields: Mapping[str, Json],
        decode: Callable[[Json], T],
        options: ReadOptions,
    ) -> T:
        consistency = options.get("consistency")
        operation = self._records.begin(name, fields, _read_kind(consistency), _bound(consistency))
        return await self._recorded(
            operation, super()._read(name, fields, operation.remember(decode), options)
        )

    async def _write(
        self,
        name: str,
        fields: Mapping[str, Json],
        decode: Callable[[Json], T],
        options: WriteOptions,
    ) -> T:
        operation = self._records.begin(name, fields, "write", 0)
        return await self._recorded(
            operation, super()._write(name, fields, operation.remember(decode), options)
        )

    async def _recorded(self, operation: ProgramOperation, call: Awaitable[T]) -> T:
        """Await the call, and record its outcome."""
        token = CURRENT_OPERATION.set(operation)
        try:
            result = await call
        except asyncio.CancelledError:
            operation.finish("unknown", "cancelled")
            raise
        except OutcomeUnknown as error:
            operation.finish("unknown", error.code)
            raise
        except (ResultInvalid, ResultTooLarge) as error:
            # A command took effect. Only its result cannot be returned.
            operation.finish("ok" if operation.writes else "refused", error.code)
            raise
        except QcoreError as error:
            operation.finish("refused", error.code)
            raise
        except Exception as error:
            operation.finish("refused", type(error).__name__)
            raise
        finally:
            CURRENT_OPERATION.reset(token)
        operation.succeeded(result)
        return result

    # -- what the simulator does not have -------------------------------------------------------------

    async def init(
        self,
        nodes: Sequence[tuple[int, str]] = (),
        *,
        endpoint: str | Address | None = None,
        token: str | None = None,
        public_keys: Sequence[tuple[int, str]] = (),
    ) -> NoReturn:
        """Refuse: a run begins with a cluster that has been initialised."""
        raise NotSimulated(
            "a simulated client program cannot call init: the run begins with an initialised cluster"
        )

    async def save_snapshot(
        self,
        path: Path | str,
        *,
        stale: bool = False,
        force: bool = False,
        timeout_s: float = 300.0,  # as in `ClusterMethods`
    ) -> SnapshotHeader:
        """Refuse: there are no files."""
        raise NotSimulated(
            "a simulated client program cannot call save_snapshot: it writes a file; let the timeline take a snapshot"
        )


def _read_kind(consistency: Consistency | None) -> RequestKind:
    if isinstance(consistency, Stale | Mapping):
        return "stale_read"
    return _READ_KINDS.get(consistency or "linearizable", "read")


def _bound(consistency: Consistency | None) -> int:
    match consistency:
        case Stale(stale=milliseconds):
            return milliseconds
        case {"stale": int(milliseconds)}:
            return milliseconds
    return 0
