"""Converts outcomes to messages between replicas and back: an exception becomes a code and a text."""

from __future__ import annotations

from qcore.errors import (
    DeadlineExceeded,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ProposalDropped,
    QcoreError,
    ResultInvalid,
    ResultTooLarge,
    SequenceRefused,
    SessionExpired,
    StoreError,
    TooLarge,
)
from qcore.replica.messages import Forward, ForwardResponse, ReadIndex, ReadIndexResponse
from qcore.replica.requests.pending import PendingRequest

_BY_CODE: dict[str, type[QcoreError]] = {
    error.__name__: error
    for error in (
        DeadlineExceeded,
        OutcomeUnknown,
        ProposalDropped,
        ResultInvalid,
        ResultTooLarge,
        SequenceRefused,
        SessionExpired,
        StoreError,
        TooLarge,
    )
}


def response_of_result(
    request: PendingRequest, result: str, index: int
) -> ForwardResponse | ReadIndexResponse:
    """The message that carries a result back to the replica that forwarded the request."""
    if request.kind == "read_index":
        return ReadIndexResponse(request.request_id, index)
    return ForwardResponse(request.request_id, result, index)


def response_of_error(
    request: PendingRequest, error: QcoreError
) -> ForwardResponse | ReadIndexResponse:
    """The message that carries `error` back to the replica that forwarded the request."""
    response: ForwardResponse | ReadIndexResponse
    if request.kind == "read_index":
        response = ReadIndexResponse(request.request_id, None)
    else:
        response = ForwardResponse(request.request_id, None)
    response.error_code, response.error_text = error.code, str(error)
    if isinstance(error, NotLeader):
        response.leader_id, response.leader_addr = error.leader_id, error.leader_addr
    elif isinstance(error, Overloaded):
        response.retry_after_ms = error.retry_after_ms
    return response


def rejection_response(
    message: Forward | ReadIndex, error: QcoreError
) -> ForwardResponse | ReadIndexResponse:
    """The message that rejects a peer's request before the replica has accepted it."""
    if isinstance(message, ReadIndex):
        return response_of_error(PendingRequest(message.read_id, None, "read_index", "", 0), error)
    return response_of_error(PendingRequest(message.forward_id, None, message.kind, "", 0), error)


def error_of_response(response: ForwardResponse | ReadIndexResponse) -> QcoreError:
    """The error in a response; inverse of `response_of_error`. An unknown code becomes `OutcomeUnknown`."""
    if response.error_code == NotLeader.__name__:
        return NotLeader(response.leader_id, response.leader_addr)
    text = response.error_text or "the leader gave no reason"
    if response.error_code == Overloaded.__name__:
        return Overloaded(text, max(1, response.retry_after_ms or 1))
    known = _BY_CODE.get(response.error_code or "")
    return known(text) if known else OutcomeUnknown(f"{response.error_code}: {text}")
