"""Frames to messages and back: strict validation, once, at the edge."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer

from qcore.errors import LocalProtocolError, RemoteProtocolError
from qcore.transport.codec.diagnosis import (
    MAX_ERROR_LENGTH,
    TOO_MANY_PROBLEMS,
    DuplicateScanner,
    Problem,
    commands_of,
    describe,
    describe_elements,
    duplicate_key,
    name_command,
)
from qcore.transport.codec.frame_bounds import FrameBounds, envelope_head, find_excess
from qcore.transport.codec.validators import MAX_ENVELOPES, TooManyUnknownFields, build_validators
from qcore.transport.limits import DEFAULT_COMMAND_BYTES
from qcore.transport.wire import Error

_WHITESPACE = b" \t\r\n"
_NO_DETAIL = {"detail"}
_NOT_ONE_KEY = Problem("", "an envelope is an object with exactly one key, the message's type")


@dataclass(slots=True)
class Malformed:
    """An envelope that could not be understood.

    Attributes:
        reply: what to answer: the sender's id if it could be read, else a fresh one, and a text that
            names the field.
        type_name: the envelope's key if it names a known type, else None.
    """

    reply: Error
    type_name: str | None = None


@dataclass(slots=True, frozen=True)
class _Encoder:
    """How to write one message class: `prefix`, the fields, a closing brace."""

    prefix: bytes
    serializer: SchemaSerializer
    has_detail: bool


class Codec:
    """Decodes and encodes frames of the message types it was given.

    Args:
        registry: name on the wire -> dataclass with an `id: str` field. See `wire.REGISTRY`.
        bounds: what one frame of a client may hold.

    Attributes:
        registry, bounds: the same.
        peer_bounds: what one frame of a peer may hold.

    Raises:
        TypeError: a class of the registry is not a dataclass with an `id`, or stands there twice.
    """

    def __init__(self, registry: Mapping[str, type], bounds: FrameBounds | None = None) -> None:
        self.registry = dict(registry)
        self.bounds = bounds or FrameBounds.for_commands(DEFAULT_COMMAND_BYTES)
        self.peer_bounds = FrameBounds.for_peers()
        self._harmless_bytes = self.bounds.harmless_bytes
        self._harmless_peer_bytes = self.peer_bounds.harmless_bytes
        self._encoders: dict[type, _Encoder] = {}
        for name, cls in registry.items():
            names = {field.name for field in fields(cls)}
            if "id" not in names or cls in self._encoders:
                raise TypeError(f"{name}: {cls.__name__} has no field `id`, or is registered twice")
            self._encoders[cls] = _Encoder(
                prefix=b"{" + json.dumps(name).encode() + b":",
                serializer=TypeAdapter(cls).serializer,
                has_detail="detail" in names,
            )
        self._names = frozenset(registry)
        self._commands = commands_of(registry)
        self._duplicates = DuplicateScanner()
        self._validators = build_validators(registry)
        self._one, self._many = self._validators.one, self._validators.many
        self._unknown = self._validators.unknown

    # --- decoding ---------------------------------------------------------------------------------

    def decode(self, data: bytes | bytearray, *, from_peer: bool = False) -> list[object]:
        """The messages of one text frame, in order; `Malformed` in the place of each bad envelope.

        Never raises, whatever `data` is.

        Args:
            data: the frame's payload.
            from_peer: other bounds hold (see `peer_bounds`), and objects with a key twice are not refused (the last
                one counts), which costs as much again as the validation.
        """
        one, many = self._one, self._many
        if len(data) > (self._harmless_peer_bytes if from_peer else self._harmless_bytes):
            refused = self._refuse_unparsed(data, self.peer_bounds if from_peer else self.bounds)
            if refused is not None:
                return [refused]
            if not from_peer:
                one, many = self._validators.one_request, self._validators.many_requests
        self._unknown.seen = 0
        try:
            if data[:1] == b"{" or not _is_array(data):
                envelopes = [one.validate_json(data)]
            else:
                envelopes = many.validate_json(data)
        except ValidationError as error:
            return [self._malformed(self._id_of_one(data), describe(error))]
        except TooManyUnknownFields:
            return [self._malformed(self._id_of_one(data), TOO_MANY_PROBLEMS)]
        messages: list[object] = []
        flawed = False
        for envelope in envelopes:
            if envelope is None or len(envelope) != 1:
                flawed = True
                messages.append(None)
            else:
                messages += envelope.values()
        if flawed:
            self._diagnose(data, messages)
        if not from_peer:
            self._refuse_duplicates(data, messages)
        return messages

    def decode_binary(self, data: bytes | bytearray) -> Malformed:
        """The answer to a binary frame; its sender's id is used if there is one inside."""
        problem = Problem("", "binary frames are not understood: send JSON in text frames")
        small = len(data) <= self._harmless_bytes
        return self._malformed(self._id_of_one(data) if small else _cheap_head(data), problem)

    def _refuse_unparsed(self, data: bytes | bytearray, bounds: FrameBounds) -> Malformed | None:
        """The answer to a large frame that is not worth parsing."""
        head = _cheap_head(data)
        excess = find_excess(data, bounds)
        if excess is not None:
            malformed = self._malformed(head, Problem("", excess.text()))
            malformed.reply.detail = {
                **(malformed.reply.detail or {}),
                "what": excess.what,
                "limit": excess.limit,
            }
            return malformed
        if head is None or head.keys() <= self._names or _is_array(data):
            return None
        return self._malformed(head, Problem(next(iter(head)), "unknown message type"))

    def _diagnose(self, data: bytes | bytearray, messages: list[object]) -> None:
        """Put a `Malformed` in the place of each None."""
        if not _is_array(data):
            messages[0] = self._malformed(self._id_of_one(data), _NOT_ONE_KEY)
            return
        heads = self._validators.ids_of_many.validate_json(data)
        problems: dict[int, Problem] = {}
        otherwise = TOO_MANY_PROBLEMS
        if len(data) <= self._harmless_bytes:
            self._unknown.seen = 0
            try:
                self._validators.diagnose_many.validate_json(data)
                otherwise = _NOT_ONE_KEY
            except ValidationError as error:
                problems = describe_elements(error)
                if problems:
                    otherwise = _NOT_ONE_KEY
            except TooManyUnknownFields:
                pass
        for index, message in enumerate(messages):
            if message is None:
                problem = problems.get(index, otherwise)
                messages[index] = self._malformed(heads[index], problem)

    def _refuse_duplicates(self, data: bytes | bytearray, messages: list[object]) -> None:
        """Put a `Malformed` in the place of each message in which an object has a key twice."""
        tree = self._duplicates.scan(data)
        if tree is None:
            return
        elements = tree if isinstance(tree, list) else [tree]
        for index, element in enumerate(elements):
            key = duplicate_key(element)
            if key is not None and not isinstance(messages[index], Malformed):
                message_id = getattr(messages[index], "id", None)
                type_name = next(iter(element))
                problem = Problem(key[:60], "the key stands twice in one object")
                messages[index] = self._malformed({type_name: {"id": message_id}}, problem)

    def _id_of_one(self, data: bytes | bytearray) -> object:
        """Of a frame that is one envelope."""
        if _is_array(data):
            return None  # to be told so by the validator would cost a copy of all of it
        if len(data) > self._harmless_bytes:
            head = _cheap_head(data)
            if head is not None and None not in [body["id"] for body in head.values()]:
                return head  # to parse such a frame again takes long
        try:
            return self._validators.id_of_one.validate_json(data)
        except ValidationError:
            return None

    def _malformed(self, head: object, problem: Problem) -> Malformed:
        """Build the answer.

        Args:
            head: what could be read of the envelope: `{type name: {"id": ...} or None}`, or None.
            problem: what is wrong with it.
        """
        message_id = type_name = None
        for name, body in head.items() if isinstance(head, dict) else ():
            if type_name is None and name in self._names:
                type_name = name
            if message_id is None and body is not None:
                message_id = body.get("id")
        problem = name_command(problem, self._commands)
        error = RemoteProtocolError(problem.text()[:MAX_ERROR_LENGTH])
        detail = {**error.detail(), "field": problem.field}
        if message_id is None:
            message_id = uuid.uuid4().hex
        return Malformed(Error(message_id, str(error), detail), type_name)

    # --- encoding ---------------------------------------------------------------------------------

    def encode(self, message: object) -> bytes:
        """The envelope of a message of a registered class, as JSON.

        Raises:
            qcore.errors.LocalProtocolError: the class is not registered, or a value cannot be sent.
        """
        encoder = self._encoders.get(type(message))
        if encoder is None:
            raise LocalProtocolError(
                f"{type(message).__name__} is not a message of this codec: register it"
            )
        omit = _NO_DETAIL if encoder.has_detail and message.detail is None else None  # type: ignore[attr-defined]  # has_detail says so
        try:
            body = encoder.serializer.to_json(
                message, by_alias=True, exclude=omit, warnings="error"
            )
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise LocalProtocolError(
                f"a {type(message).__name__} cannot be sent: {error}"
            ) from error
        return b"%b%b}" % (encoder.prefix, body)


def _is_array(data: bytes | bytearray) -> bool:
    return data[:1] == b"[" or data.lstrip(_WHITESPACE)[:1] == b"["


def _cheap_head(data: bytes | bytearray) -> dict[str, dict[str, str | None]] | None:
    """What the beginning of a frame says of the first envelope, as `FrameValidators.id_of_one` would."""
    head = envelope_head(data)
    return None if head is None else {head[0]: {"id": head[1]}}


def encode_reply(name: str, message_id: str, response_json: str) -> bytes:
    """`{name: {"id": message_id, "response": ...}}` around a response that is JSON text already."""
    return f'{{"{name}":{{"id":{json.dumps(message_id)},"response":{response_json}}}}}'.encode()


__all__ = ["MAX_ENVELOPES", "Codec", "Malformed", "encode_reply"]
