"""One attempt of each kind of request. An attempt raises a retryable error only if a retry is harmless."""

from __future__ import annotations

from collections.abc import Mapping

from qcore.client.errors import decode_error
from qcore.client.request_sender import Json, SendOnce
from qcore.errors import (
    ChangeRefused,
    ConnectionLost,
    DeadlineExceeded,
    ErrorReply,
    NotLeader,
    OutcomeUnknown,
    ProposalError,
    RemoteProtocolError,
    TransportError,
)
from qcore.transport.address import Address


async def try_perform(
    send: SendOnce,
    endpoint: Address,
    fields: Mapping[str, Json],
    timeout_s: float,
    *,
    repeatable: bool,
) -> Json:
    """Send a `Perform`; returns `PerformResponse.response`.

    Args:
        send: sends a message.
        endpoint: the node.
        fields: the fields of the message.
        timeout_s: how long the attempt may take.
        repeatable: whether the request may be sent again although its outcome is unknown.
    """
    try:
        reply = await send(endpoint, "Perform", fields, timeout_s)
    except (OutcomeUnknown, ConnectionLost) as error:
        if repeatable and "session" not in fields:
            raise DeadlineExceeded(str(error)) from None
        raise OutcomeUnknown(str(error)) from None
    response: Json = reply["response"]
    ((_, body),) = response.items()
    if body.get("error") is not None:
        rejection = decode_error(body["error"], body.get("detail"))
        if isinstance(rejection, ProposalError) or rejection.retryable:
            raise rejection
    return response


async def try_store(
    send: SendOnce,
    endpoint: Address,
    name: str,
    fields: Mapping[str, Json],
    timeout_s: float,
    *,
    repeatable: bool,
) -> Json:
    """Send a message of the entity store; returns the `Ok` of the response, or a bare response.

    Args:
        send: sends a message.
        endpoint: the node.
        name: the message.
        fields: its fields.
        timeout_s: how long the attempt may take.
        repeatable: whether the request may be sent again although its outcome is unknown.
    """
    try:
        reply = await send(endpoint, name, fields, timeout_s)
    except (OutcomeUnknown, ConnectionLost) as error:
        if repeatable and "session" not in fields:
            raise DeadlineExceeded(str(error)) from None
        raise OutcomeUnknown(str(error)) from None
    except ErrorReply as error:
        # A message whose response is bare has no other place for an error of the cluster or the store.
        detail = error.detail()
        if detail.get("code") == RemoteProtocolError.code:
            raise
        raise decode_error(str(error), detail) from None
    response = reply["response"]
    if isinstance(response, dict):
        if "Err" in response:
            raise decode_error(response["Err"], reply.get("detail"))
        if "Ok" in response:
            return response["Ok"]
    return response


async def try_session_request(
    send: SendOnce, endpoint: Address, name: str, fields: Mapping[str, Json], timeout_s: float
) -> Json:
    """Send a session request, which is always harmless to repeat; returns the `Ok` of the response."""
    try:
        reply = await send(endpoint, name, fields, timeout_s)
    except (ConnectionLost, OutcomeUnknown) as error:
        raise DeadlineExceeded(str(error)) from None
    response = reply["response"]
    if "Err" not in response:
        return response["Ok"]
    rejection = decode_error(response["Err"], reply.get("detail"))
    if isinstance(rejection, OutcomeUnknown):
        raise DeadlineExceeded(str(rejection))
    raise rejection


async def try_admin_request(
    send: SendOnce, endpoint: Address, name: str, fields: Mapping[str, Json], timeout_s: float
) -> dict[str, Json]:
    """Send a request that only the leader executes; returns the whole response."""
    try:
        reply = await send(endpoint, name, fields, timeout_s)
    except ConnectionLost as error:
        raise OutcomeUnknown(f"{error}: look whether it took effect") from None
    response = reply["response"]
    if "Err" in response:
        raise decode_error(response["Err"], reply.get("detail"))
    return reply


async def try_metrics(send: SendOnce, endpoint: Address, timeout_s: float) -> dict[str, Json]:
    """The metrics object of the node at this endpoint."""
    try:
        reply = await send(endpoint, "GetMetrics", {}, timeout_s)
    except (ConnectionLost, OutcomeUnknown) as error:
        raise TransportError(str(error)) from None  # it only reads, so it may be repeated
    metrics: dict[str, Json] = reply["response"]
    return metrics


async def try_leader_metrics(
    send: SendOnce, endpoint: Address, timeout_s: float
) -> dict[str, Json]:
    """The metrics object of the node at this endpoint, if it leads and has committed an entry of its term.

    Raises:
        NotLeader: it does not lead; the error names the leader that it knows.
        ChangeRefused: it leads, and has committed no entry of its term yet (`not_ready`).
    """
    metrics = await try_metrics(send, endpoint, timeout_s)
    leader = metrics["current_leader"]
    if metrics["state"] == "Leader":
        # A leader that runs 0.1.0 does not report whether it is ready, and counts as ready.
        if metrics["qcore"].get("leader_ready") is False:
            raise ChangeRefused(
                "not_ready", "the leader has not committed an entry of its current term yet"
            )
        return metrics
    known = metrics["membership_config"]["membership"]["nodes"].get(str(leader), {})
    raise NotLeader(leader, known.get("addr"))
