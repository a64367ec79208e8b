"""Valid messages of every type that a node of the entity store knows, in both spellings, from a seed."""

from __future__ import annotations

import dataclasses
import json
import random
import types
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import JsonValue
from typing_extensions import is_typeddict

from qcore.node.application import EntityPerform
from qcore.store_api.message_table import STORE_MESSAGES
from qcore.store_api.watch_messages import WATCH_MESSAGES
from qcore.transport.codec.codec import Codec, Malformed
from qcore.transport.wire import REGISTRY

#: The codec of a node that runs the entity store.
NODE_CODEC = Codec(
    {
        **REGISTRY,
        "Perform": EntityPerform,
        **{name: entry.cls for name, entry in STORE_MESSAGES.items()},
        **WATCH_MESSAGES,
    }
)

#: Short texts, and some with a meaning: names that exist on the node, a path, filters, words of the protocol.
_TEXTS = (
    *("", "T", "F", "Name", "Parent", "Parent->Name", "F == 'x'", "Name.startsWith('a') && 1/0"),
    *("0", "a:1", "127.0.0.1:1", "peer", "command", "\U0001f600", "\u0000", "a\u2028b", "x" * 300),
)
_NUMBERS = (0, 1, 1, 2, 3, 7, 100, 255, 256, 2**31 - 1, 2**53 + 1, 2**63 - 1)
_FLOATS = (0.0, -0.0, 1.5, -1e300, 5e-324)
_ATTEMPTS = 2000


def _any_json(rng: random.Random) -> object:
    return rng.choice((None, True, 1, -1.5, "T", [], {}, [1, "x"], {"a": {"b": [None]}}))


class _Builder:
    """Builds JSON values for annotations. Some break a rule that only a validator knows: the caller tries again."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def build(self, kind: Any, bound: Mapping[Any, Any], depth: int = 0) -> Any:
        rng = self.rng
        if get_origin(kind) in (Annotated, Required, NotRequired):
            return self.build(get_args(kind)[0], bound, depth)
        if isinstance(kind, TypeVar):
            return self.build(bound[kind], bound, depth)
        if kind is JsonValue or kind is Any or kind is object:
            return _any_json(rng)
        simple: dict[Any, tuple[object, ...]] = {
            int: _NUMBERS,
            str: _TEXTS,
            float: _FLOATS,
            bool: (True, False),
            type(None): (None,),
            None: (None,),
        }
        if kind in simple:
            return rng.choice(simple[kind])
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Literal:
            return rng.choice(arguments)
        if origin in (Union, types.UnionType):
            return self.build(rng.choice(arguments), bound, depth)
        if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
            size = rng.randrange(3) if depth < 6 else 0
            return [self.build(arguments[0], bound, depth + 1) for _ in range(size)]
        if origin is tuple:
            return [self.build(each, bound, depth + 1) for each in arguments]
        if origin is dict:
            size = rng.randrange(3) if depth < 6 else 0
            key, value = arguments
            return {
                str(self.build(key, bound, depth)): self.build(value, bound, depth + 1)
                for _ in range(size)
            }
        cls: Any = origin or kind
        if origin is not None:
            bound = dict(zip(cls.__parameters__, arguments, strict=True))
        return self._object(cls, bound, depth)

    def _object(self, cls: Any, bound: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        rng = self.rng
        hints = get_type_hints(cls, include_extras=True)
        if is_typeddict(cls):
            names = [name for name in hints if name in cls.__required_keys__]
            optional = [name for name in hints if name not in cls.__required_keys__]
            if not names:  # most of these objects have exactly one of their keys
                names = rng.sample(optional, min(rng.choice((1, 1, 1, 2)), len(optional)))
            else:
                names += [name for name in optional if rng.random() < 0.5]
            return {name: self.build(hints[name], bound, depth + 1) for name in names}
        built: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            required = (
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING
            )
            if required or rng.random() < 0.4:
                alias = {"value": "Ok", "text": "Err"} if cls.__name__ in ("Ok", "Err") else {}
                name = alias.get(field.name, field.name)
                built[name] = self.build(hints[field.name], bound, depth + 1)
        return built


def valid_envelope(rng: random.Random, name: str) -> dict[str, dict[str, Any]]:
    """A valid envelope of this type.

    Raises:
        AssertionError: none was found: the builder does not understand an annotation.
    """
    cls = NODE_CODEC.registry[name]
    builder = _Builder(rng)
    error = ""
    for _ in range(_ATTEMPTS):
        body = {**builder.build(cls, {}), "id": f"fuzz-{rng.randrange(10**6)}"}
        (decoded,) = NODE_CODEC.decode(json.dumps({name: body}).encode())
        if not isinstance(decoded, Malformed):
            return {name: body}
        error = decoded.reply.error
    raise AssertionError(f"no valid {name} was found; the last error: {error}")


def valid_envelopes(rng: random.Random, per_type: int) -> list[dict[str, dict[str, Any]]]:
    """Valid envelopes, `per_type` of every type of the registry."""
    return [valid_envelope(rng, name) for name in NODE_CODEC.registry for _ in range(per_type)]
