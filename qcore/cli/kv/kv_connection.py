"""Runs the work of a command of `qcore kv`, and says what to do if the cluster runs another machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from qcore.cli.clients.connection import with_client
from qcore.errors import QcoreError, Refused, RemoteProtocolError, StoreError, WatchCompacted

if TYPE_CHECKING:
    from qcore.client import Client

_T = TypeVar("_T")

_MACHINE: Final = "kv"
_READ_AGAIN: Final = (
    "read the keys with `qcore kv get`, and watch from the revision after the one it shows"
)


def with_keys(
    endpoints: str,
    timeout: float,
    work: Callable[[Client], Awaitable[_T]],
    *,
    ask_first: bool = False,
) -> _T:
    """Run `work` with a client of a cluster that runs the machine `kv`, and return its result.

    Args:
        endpoints: the text of `--endpoints`.
        timeout: of one request, in seconds, with all its retries.
        work: uses the client.
        ask_first: ask for the machine before the work, and not only after an error.

    Raises:
        QcoreError: see `with_client`; if the cluster runs another machine, the error says so.
        typer.Exit: the command was interrupted.
    """

    async def checked(client: Client) -> _T:
        if ask_first:
            await _require_keys(client)
        try:
            return await work(client)
        except WatchCompacted as error:
            error.add_note(_READ_AGAIN)
            raise
        except (StoreError, RemoteProtocolError):
            await _require_keys(client)
            raise

    return with_client(endpoints, timeout, checked)


async def _require_keys(client: Client) -> None:
    """Raise if the cluster runs another machine. If it cannot be asked, the command goes on."""
    try:
        metrics = await client.leader_metrics()
        name = metrics["qcore"]["machine"]["name"]
    except (QcoreError, LookupError, TypeError):
        return
    if name != _MACHINE:
        raise Refused(
            f"this cluster runs the state machine {name!r}, and the command is for the machine `{_MACHINE}`: "
            f"use a cluster whose nodes were started with --machine {_MACHINE}"
        )
