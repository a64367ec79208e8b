"""Runs the work of a command with a client of the cluster that `--endpoints` names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from qcore.cli.clients.asked import Asked
from qcore.cli.clients.connection_options import credentials, tls_files
from qcore.cli.clients.shared_clients import ClientKind, SharedClients
from qcore.cli.next_steps import add_next_step, names_option
from qcore.cli.options import split_endpoints
from qcore.errors import QcoreError, RemoteProtocolError

if TYPE_CHECKING:
    from qcore.client.client import Client

_T = TypeVar("_T")


class _Shared:
    """The clients that all commands of this process use, if there are any."""

    clients: SharedClients | None = None


@contextmanager
def shared_clients() -> Iterator[SharedClients]:
    """Within this context, the commands of this process share clients, which stay connected."""
    with SharedClients() as clients:
        _Shared.clients = clients
        try:
            yield clients
        finally:
            _Shared.clients = None


def with_client(
    endpoints: str,
    timeout: float,
    work: Callable[[Client], Awaitable[_T]],
    *,
    admin: bool = False,
    attempt_timeout_s: float = 8.0,
) -> _T:
    """Run `work` with a client, and return its result.

    Args:
        endpoints: the text of `--endpoints`.
        timeout: of one request, in seconds, with all its retries.
        work: uses the client.
        admin: whether to use a connection that nodes reserve for operators.
        attempt_timeout_s: how long one attempt may take.

    Raises:
        ConfigError: `endpoints` is not a list of addresses, or a file for TLS cannot be used.
        QcoreError: from `work`, with a note that says what to do next.
        typer.Exit: the command was interrupted.
    """
    from qcore.cli.runner import run
    from qcore.client.client import Client

    targets = split_endpoints(endpoints)
    Asked.add(targets)
    tls, proof = tls_files(), credentials()

    async def connected() -> _T:
        async with Client(
            targets,
            timeout_s=timeout,
            attempt_timeout_s=attempt_timeout_s,
            admin=admin,
            tls=tls,
            credentials=proof,
        ) as client:
            return await work(client)

    try:
        if _Shared.clients is not None:
            kind = ClientKind(tuple(targets), timeout, attempt_timeout_s, admin, tls, proof)
            return _Shared.clients.run(kind, work)
        return run(connected())
    except QcoreError as error:
        if (
            isinstance(error, RemoteProtocolError)
            and not any(each in str(error) for each in targets)
            and not names_option(error)
        ):
            error.add_note(f"it came from {', '.join(targets)}")
        raise add_next_step(error)  # noqa: B904 - it is the same error
