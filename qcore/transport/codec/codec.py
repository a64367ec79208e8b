"""`Codec`: decodes and strictly validates frames, and encodes messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from json.encoder import encode_basestring_ascii

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, from_json

from qcore.compiled_build import register_copies
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
from qcore.transport.codec.quick_readers import PEER_READERS, Reader
from qcore.transport.codec.quick_writers import quick_writers
from qcore.transport.codec.validators import MAX_ENVELOPES, TooManyUnknownFields, build_validators
from qcore.transport.limits import DEFAULT_COMMAND_BYTES
from qcore.transport.wire import Error

_WHITESPACE = b" \t\r\n"
#: Longer than the name of any message that has a quick reader, bytes.
_LONGEST_NAME = 40
_NO_DETAIL = {"detail"}
_NOT_ONE_KEY = Problem("", "an envelope is an object with exactly one key, the message's type")


@dataclass
class Malformed:
    """An envelope that is not valid.

    Attributes:
        reply: the `Error` to send back. Its id is the sender's if that could be read, else empty; its text names the
            field.
        type_name: the envelope's key if it names a known type, else None.
        has_id: whether the sender's id could be read.
    """

    reply: Error
    type_name: str | None
    has_id: bool

    def reply_with_id(self, new_token: Callable[[], str]) -> Error:
        """The reply, with a new id if the sender's could not be read. `new_token`: see `Runtime`."""
        if self.has_id:
            return self.reply
        return replace(self.reply, id=new_token().replace("-", ""))


@dataclass(frozen=True)
class _Encoder:
    """How to encode one message class: `prefix`, the fields, and a closing brace."""

    prefix: bytes
    serializer: SchemaSerializer
    has_detail: bool


class Codec:
    """Decodes and encodes frames of the message types in its registry.

    Args:
        registry: name on the wire -> dataclass with an `id: str` field. See `wire.REGISTRY`.
        bounds: what one frame of a client may hold.
        readers: name of a client's message -> its quick reader, for the most frequent ones.

    Attributes:
        registry, bounds: the arguments.
        peer_bounds: what one frame of a peer may hold.

    Raises:
        TypeError: a class of the registry is not a dataclass with an `id`, or is registered twice.
    """

    def __init__(
        self,
        registry: Mapping[str, type],
        bounds: FrameBounds | None = None,
        readers: Mapping[str, Reader] | None = None,
    ) -> None:
        self.registry = dict(registry)
        self.bounds = bounds or FrameBounds.for_commands(DEFAULT_COMMAND_BYTES)
        self.peer_bounds = FrameBounds.for_peers()
        self._harmless_bytes = self.bounds.harmless_bytes
        self._harmless_peer_bytes = self.peer_bounds.harmless_bytes
        self._name_of: dict[type, str] = {}
        #: Made when a class is first encoded: a node only reads most messages.
        self._encoders: dict[type, _Encoder] = {}
        self._writers = quick_writers()
        self._peer_readers = {name: read for name, read in PEER_READERS.items() if name in registry}
        self._client_readers = dict(readers or {})
        self._quick_names = frozenset(
            name.encode() for name in (*self._peer_readers, *self._client_readers)
        )
        for name, cls in registry.items():
            if "id" not in {field.name for field in fields(cls)} or cls in self._name_of:
                raise TypeError(f"{name}: {cls.__name__} has no field `id`, or is registered twice")
            self._name_of[cls] = name
        self._names = frozenset(registry)
        self._commands = commands_of(registry)
        self._duplicates = DuplicateScanner()
        self._validators = build_validators(registry)
        self._one, self._many = self._validators.one, self._validators.many
        self._unknown = self._validators.unknown

    # --- decoding ---------------------------------------------------------------------------------

    def decode(self, data: bytes | bytearray, *, from_peer: bool = False) -> list[object]:
        """The messages of one text frame, in order. A `Malformed` replaces each invalid envelope.

        Never raises, whatever `data` is.

        Args:
            data: the frame's payload.
            from_peer: whether a peer sent the frame. If so, `peer_bounds` apply, and duplicate keys in an object are
                not rejected (the last one counts), because their check costs as much as the validation.
        """
        one, many = self._one, self._many
        if len(data) > (self._harmless_peer_bytes if from_peer else self._harmless_bytes):
            rejected = self._reject_unparsed(data, self.peer_bounds if from_peer else self.bounds)
            if rejected is not None:
                return [rejected]
            if not from_peer:
                one, many = self._validators.one_request, self._validators.many_requests
        # A large frame of a client is validated before any object is made of its content.
        if from_peer or len(data) <= self._harmless_bytes:
            quick = self._read_quickly(data, from_peer=from_peer)
            if quick is not None:
                return quick
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
        has_invalid = False
        for envelope in envelopes:
            if envelope is None or len(envelope) != 1:
                has_invalid = True
                messages.append(None)
            else:
                messages += envelope.values()
        if has_invalid:
            self._diagnose(data, messages)
        if not from_peer:
            marked = self._duplicates.scan(data)
            if marked is not None:
                self._reject_duplicates(marked, messages)
        return messages

    def _read_quickly(self, data: bytes | bytearray, *, from_peer: bool) -> list[object] | None:
        """The messages of a frame that has only frequent ones, all valid; else None."""
        begin = 2 if data[:1] == b"{" else 3
        first = bytes(data[begin : data.find(b'"', begin, begin + _LONGEST_NAME)])
        if first not in self._quick_names:
            return None
        try:
            parsed = from_json(data)
        except ValueError:
            return None
        envelopes: list[object] = parsed if type(parsed) is list else [parsed]
        if len(envelopes) > MAX_ENVELOPES:
            return None
        readers = self._peer_readers if from_peer else self._client_readers
        messages: list[object] = []
        texts = 0
        for each in envelopes:
            if type(each) is not dict or len(each) != 1:
                return None
            envelope: dict[str, object] = each
            for name, content in envelope.items():
                read = readers.get(name)
                found = None if read is None else read(content)
                if found is None:
                    return None
                messages.append(found[0])
                texts += 1 + found[1]
        if from_peer:
            return messages
        # If a key occurs twice, the frame has texts that the parsed value does not have. Escapes make it hard to count.
        if data.count(b'"') != 2 * texts or b"\\" in data:
            marked = self._duplicates.scan(data)
            if marked is not None:
                self._reject_duplicates(marked, messages)
        return messages

    def decode_binary(self, data: bytes | bytearray) -> Malformed:
        """The answer to a binary frame, with the sender's id if the frame holds one."""
        problem = Problem("", "binary frames are not understood: send JSON in text frames")
        small = len(data) <= self._harmless_bytes
        return self._malformed(self._id_of_one(data) if small else _cheap_head(data), problem)

    def _reject_unparsed(self, data: bytes | bytearray, bounds: FrameBounds) -> Malformed | None:
        """The answer to a large frame that must not be parsed, or None."""
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
        """Replace each None by a `Malformed`."""
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

    def _reject_duplicates(self, marked: object, messages: list[object]) -> None:
        """Replace each message that has an object with a duplicate key by a `Malformed`.

        Args:
            marked: what `DuplicateScanner.scan` found.
            messages: the messages of the same frame.
        """
        elements = marked if isinstance(marked, list) else [marked]
        for index, element in enumerate(elements):
            key = duplicate_key(element)
            if key is not None and not isinstance(messages[index], Malformed):
                message_id = getattr(messages[index], "id", None)
                type_name = next(iter(element))
                problem = Problem(key[:60], "the key occurs twice in one object")
                messages[index] = self._malformed({type_name: {"id": message_id}}, problem)

    def _id_of_one(self, data: bytes | bytearray) -> object:
        """The id in a frame that is one envelope, as `_malformed` takes it."""
        if _is_array(data):
            return None  # the error of the validator would hold a copy of the array
        if len(data) > self._harmless_bytes:
            head = _cheap_head(data)
            if head is not None and None not in [body["id"] for body in head.values()]:
                return head  # large: do not parse the frame again
        try:
            return self._validators.id_of_one.validate_json(data)
        except ValidationError:
            return None

    def _malformed(self, head: object, problem: Problem) -> Malformed:
        """Build the `Malformed` for an envelope.

        Args:
            head: the readable part of the envelope: `{type name: {"id": ...} or None}`, or None.
            problem: what is wrong with the envelope.
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
        has_id = message_id is not None
        return Malformed(Error(message_id or "", str(error), detail), type_name, has_id)

    # --- encoding ---------------------------------------------------------------------------------

    def encode(self, message: object) -> bytes:
        """The envelope of a message of a registered class, as JSON.

        Raises:
            qcore.errors.LocalProtocolError: the class is not registered, or a value cannot be sent.
        """
        write = self._writers.get(type(message))
        if write is not None:
            try:
                written = write(message)
            except (PydanticSerializationError, UnicodeEncodeError):
                written = None  # the serializer gives the error
            if written is not None:
                return written
        encoder = self._encoders.get(type(message)) or self._new_encoder(type(message))
        omit = _NO_DETAIL if encoder.has_detail and message.detail is None else None  # type: ignore[attr-defined]  # see has_detail
        try:
            body = encoder.serializer.to_json(
                message, by_alias=True, exclude=omit, warnings="error"
            )
        except (PydanticSerializationError, UnicodeEncodeError) as error:
            raise LocalProtocolError(
                f"a {type(message).__name__} cannot be sent: {error}"
            ) from error
        return b"%b%b}" % (encoder.prefix, body)

    def _new_encoder(self, cls: type) -> _Encoder:
        name = self._name_of.get(cls)
        if name is None:
            raise LocalProtocolError(f"{cls.__name__} is not a message of this codec: register it")
        encoder = self._encoders[cls] = _Encoder(
            prefix=b"{" + json.dumps(name).encode() + b":",
            serializer=TypeAdapter(cls).serializer,
            has_detail="detail" in {field.name for field in fields(cls)},
        )
        return encoder


def _is_array(data: bytes | bytearray) -> bool:
    return data[:1] == b"[" or data.lstrip(_WHITESPACE)[:1] == b"["


def _cheap_head(data: bytes | bytearray) -> dict[str, dict[str, str | None]] | None:
    """The type and id of the first envelope, from the beginning of a frame; as from `FrameValidators.id_of_one`."""
    head = envelope_head(data)
    return None if head is None else {head[0]: {"id": head[1]}}


def encode_response(name: str, message_id: str, response_json: str) -> bytes:
    """The envelope `{name: {"id": message_id, "response": ...}}` for a response that is JSON text already."""
    number = encode_basestring_ascii(message_id)  # as `json.dumps`, in a fraction of the time
    return f'{{"{name}":{{"id":{number},"response":{response_json}}}}}'.encode()


def encode_failure(name: str, message_id: str, text: str, detail: object) -> bytes:
    """The envelope of a response that reports an error."""
    content = {"id": message_id, "response": {"Err": text}, "detail": detail}
    return json.dumps({name: content}).encode()


__all__ = ["MAX_ENVELOPES", "Codec", "Malformed", "encode_failure", "encode_response"]


register_copies(globals())
