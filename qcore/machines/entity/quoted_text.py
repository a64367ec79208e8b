"""How the errors of the entity store quote a client's text: equal on every replica and in any process."""

from __future__ import annotations

from json import JSONEncoder

_encode = JSONEncoder(ensure_ascii=False).encode
_SHOWN_CHARS = 80


def quoted(text: str) -> str:
    """Prepare a client's text for an error: in double quotes, escaped and cut to a bounded length.

    Not `repr`: its escapes depend on the Unicode tables of the interpreter.
    """
    return _encode(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "...")
