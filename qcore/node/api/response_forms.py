"""How the outcome of a client's operation becomes a response: one form for each kind of message."""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii
from typing import Final, Protocol

from qcore.errors import PermissionDenied, QcoreError, Unauthenticated, to_wire
from qcore.node.application import Application
from qcore.replica.events import Reply
from qcore.transport.codec.codec import encode_failure, encode_response


class ResponseForm(Protocol):
    """Writes the responses of one kind of message."""

    def success(self, message_id: str, result: str) -> bytes:
        """The envelope for a result of the state machine."""
        ...

    def failure(self, message_id: str, error: QcoreError) -> bytes:
        """The envelope for a request that the state machine did not execute."""
        ...


class PerformForm:
    """The form of `PerformResponse`.

    Args:
        application: writes the content.
        name: the operation's name.
    """

    def __init__(self, application: Application, name: str) -> None:
        self._application = application
        self._name = name

    def success(self, message_id: str, result: str) -> bytes:
        """See `ResponseForm`."""
        content = self._application.success(self._name, result)
        return encode_response("PerformResponse", message_id, content)

    def failure(self, message_id: str, error: QcoreError) -> bytes:
        """See `ResponseForm`."""
        content = self._application.failure(self._name, error)
        return encode_response("PerformResponse", message_id, content)


#: In a result of the store: a part was denied, and the text of an error. Texts within a value have escaped quotes.
_DENIED: Final = f'"code":"{PermissionDenied.code}"'
_TEXT: Final = re.compile(r'"(?:Err|error)":("(?:[^"\\]|\\.)*")')


def denial_in(reply: Reply) -> QcoreError | None:
    """Why the user of a request may not do it, or a part of it; None if it may."""
    if isinstance(reply.error, PermissionDenied | Unauthenticated):
        return reply.error
    if reply.result is None or _DENIED not in reply.result:
        return None
    found = _TEXT.search(reply.result)
    return PermissionDenied("" if found is None else json.loads(found[1]))


#: How a result of the store begins that is an error.
_FAILED = '{"response":{"Err":'


class StoreForm:
    """The form of the responses to messages of the entity store. Their results have `response` and perhaps `detail`.

    Args:
        name: the response's name on the wire.
        bare: whether the response is a value without `Ok`. Then an error is sent as an `Error` envelope.
    """

    def __init__(self, name: str, *, bare: bool) -> None:
        self._name = name
        self._bare = bare

    @staticmethod
    def is_failure(result: str) -> bool:
        """Whether a result of the store is an error."""
        return result.startswith(_FAILED)

    def success(self, message_id: str, result: str) -> bytes:
        """See `ResponseForm`."""
        if self._bare and self.is_failure(result):
            failed = json.loads(result)
            return self._failure(message_id, failed["response"]["Err"], failed["detail"])
        number = encode_basestring_ascii(message_id)
        return f'{{"{self._name}":{{"id":{number},{result[1:]}}}'.encode()

    def failure(self, message_id: str, error: QcoreError) -> bytes:
        """See `ResponseForm`."""
        text, detail = to_wire(error)
        return self._failure(message_id, text, detail)

    def _failure(self, message_id: str, text: str, detail: object) -> bytes:
        if not self._bare:
            return encode_failure(self._name, message_id, text, detail)
        error = {"id": message_id, "error": text, "detail": detail}
        return json.dumps({"Error": error}).encode()
