"""`initialise`: sends an `Init` to a node, and repeats it while that is harmless; for `Client.init`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from qcore.client.errors import decode_error
from qcore.client.request_sender import MIN_ATTEMPT_S, Json, SendOnce
from qcore.display import truncate
from qcore.errors import (
    ChangeRefused,
    ConfigError,
    ConnectionLost,
    ErrorReply,
    OutcomeUnknown,
    TransportError,
)
from qcore.transport.address import Address

#: The pause before the node is dialled again, seconds.
_RECONNECT_PAUSE_S: Final = 0.5
#: The rejections of an `Init` whose reason passes by itself. The node has written nothing.
_TRANSIENT: Final = ("initialising", "unreachable")
#: About the longest pause before a rejected `Init` is repeated, seconds.
_PAUSE_S: Final = 1.0


async def initialise(
    send: SendOnce,
    endpoint: Address,
    nodes: Sequence[tuple[int, str]],
    token: str | None,
    *,
    public_keys: Sequence[tuple[int, str]] = (),
    timeout_s: float,
    seconds: Callable[[], float],
    rng: Random,
) -> None:
    """Begin a cluster of these nodes. See `Client.init`.

    Args:
        send: sends a message.
        endpoint, nodes, token, public_keys, timeout_s: see `Client.init`.
        seconds: a monotonic clock.
        rng: draws pauses.
    """
    fields: dict[str, Json] = {"nodes": [_pair(node) for node in nodes]}
    if token is not None:
        fields["token"] = token
    if public_keys:
        fields["public_keys"] = [_pair(key) for key in public_keys]
    deadline = seconds() + timeout_s
    while True:
        sent_at = seconds()
        try:
            reply = await send(endpoint, "Init", fields, max(MIN_ATTEMPT_S, deadline - sent_at))
            response = reply["response"]
            if "Err" not in response:
                return
            raise decode_error(response["Err"], reply.get("detail"))
        except ChangeRefused as rejection:
            pause_s = _PAUSE_S * (0.2 + rng.random())
            now = seconds()
            # The next attempt takes about as long as this one.
            if rejection.name not in _TRANSIENT or now + pause_s + now - sent_at >= deadline:
                raise
        except ConnectionLost as error:
            raise OutcomeUnknown(
                f"{error}: the cluster may have begun: look at `qcore cluster status`"
            ) from None
        except TransportError as error:
            pause_s = _RECONNECT_PAUSE_S
            if not error.retryable or seconds() + pause_s >= deadline:
                raise
        except ErrorReply as error:
            if "Init.public_keys: unknown field" in str(error):
                raise ErrorReply(
                    f"{error}: the node at {endpoint} runs an older qcore, which knows no public keys: leave them out "
                    "(--public-key)",
                    error.detail(),
                ) from None
            if "Init.token: unknown field" not in str(error):
                raise
            raise ErrorReply(
                f"{error}: the node at {endpoint} runs an older qcore, which knows no token: give this Init to a "
                "newer node; the others join its cluster by themselves",
                error.detail(),
            ) from None
        await asyncio.sleep(pause_s)


def _pair(node: object) -> list[int | str]:
    match node:
        case (int(node_id), str(address)):
            return [node_id, address]
    raise ConfigError(
        f"nodes: {truncate(repr(node))} is not a pair: give the id and host:port of each node, (1, '127.0.0.1:8080')"
    )
