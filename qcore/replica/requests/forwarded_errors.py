"""Converts outcomes to messages between replicas and back: an exception becomes a code and a text."""

from __future__ import annotations

from typing import Final

from qcore.errors import OutcomeUnknown, ProposalError, QcoreError, StoreError, from_wire, to_wire
from qcore.replica.messages import Forward, ForwardResponse, ReadIndex, ReadIndexResponse
from qcore.replica.requests.pending import PendingRequest

#: The fields of a detail that a message between replicas has room for.
_FIELDS: Final = ("leader_id", "leader_addr", "retry_after_ms")
#: Those of a response to a forwarded request, besides these.
_FORWARD_FIELDS: Final = ("quota", "limit", "use")


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
    response.error_text, detail = to_wire(error)
    response.error_code = error.code
    for name in _fields_of(response):
        setattr(response, name, detail.get(name))
    return response


def rejection_response(
    message: Forward | ReadIndex, error: QcoreError
) -> ForwardResponse | ReadIndexResponse:
    """The message that rejects a peer's request before the replica has accepted it."""
    if isinstance(message, ReadIndex):
        return response_of_error(PendingRequest(message.read_id, None, "read_index", "", 0), error)
    return response_of_error(PendingRequest(message.forward_id, None, message.kind, "", 0), error)


def error_of_response(response: ForwardResponse | ReadIndexResponse) -> QcoreError:
    """The error in a response; inverse of `response_of_error`.

    An error that says nothing certain about the request becomes `OutcomeUnknown`: one of a newer node, or one about the
    leader itself.
    """
    text = response.error_text or "the leader gave no reason"
    fields = {name: getattr(response, name) for name in _fields_of(response)}
    detail = {"code": response.error_code, **fields}
    error = from_wire(text, detail)
    if isinstance(error, ProposalError | StoreError):
        return error
    return OutcomeUnknown(f"{response.error_code}: {text}")


def _fields_of(response: ForwardResponse | ReadIndexResponse) -> tuple[str, ...]:
    return (*_FIELDS, *_FORWARD_FIELDS) if isinstance(response, ForwardResponse) else _FIELDS
