"""The collections machine: sets and append-only lists by key, for the simulator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from qcore.errors import StoreError
from qcore.machines.interface import ApplyContext
from qcore.machines.snapshot_chunks import to_chunks, to_lines

_COMMANDS = {"add": "set", "append": "list"}
_QUERIES = {"get_set": "set", "get_list": "list"}


class CollectionsMachine:
    """Sets and lists by key, with JSON values as elements. A collection that was never used is empty.

    Commands (JSON text): `{"op": "add", "key": k, "element": e}` adds to a set, in which an element is once.
    `{"op": "append", "key": k, "element": e}` appends to a list, even an element that it has. The result is
    `{"size": n}` with the number of elements after the command, or `{"error": text}`.

    Queries: `{"op": "get_set", "key": k}` and `{"op": "get_list", "key": k}`. The result is `{"elements": [...]}`, in
    the order of the commands.
    """

    name = "collections"
    versions = (1, 1)

    def __init__(self) -> None:
        self._elements: dict[tuple[str, str], list[str]] = {}  # (kind, key) -> JSON texts

    def apply(self, command: str, context: ApplyContext) -> str:
        """Apply a command; see the class for the forms."""
        try:
            kind, key, request = _parse(command, _COMMANDS)
            if "element" not in request:
                raise StoreError("the command has no element")
        except StoreError as error:
            return json.dumps({"error": str(error)})
        elements = self._elements.setdefault((kind, key), [])
        self.insert(kind, elements, json.dumps(request["element"], sort_keys=True))
        return f'{{"size":{len(elements)}}}'

    def insert(self, kind: str, elements: list[str], element: str) -> None:
        """Insert an element, a JSON text, into a collection of this kind."""
        if kind == "list" or element not in elements:
            elements.append(element)

    def query(self, query: str) -> str:
        """The elements of a collection.

        Raises:
            StoreError: the query is not well-formed.
        """
        kind, key, _request = _parse(query, _QUERIES)
        return f'{{"elements":[{",".join(self._elements.get((kind, key), ()))}]}}'

    def snapshot(self) -> Iterable[str]:
        """The collections as of this call: one line each."""
        return list(to_chunks(self._lines()))

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the whole state.

        Raises:
            StoreError: the text is not a snapshot of this machine; the state is unchanged.
        """
        restored: dict[tuple[str, str], list[str]] = {}
        try:
            for line in to_lines(chunks):
                kind, key, elements = json.loads(line)
                restored[kind, key] = [json.dumps(each, sort_keys=True) for each in elements]
        except (ValueError, TypeError) as error:
            raise StoreError(f"not a snapshot of collections: {error}") from None
        self._elements = restored

    def state_hash(self) -> str:
        """A digest of all collections. It takes time in proportion to the state, which is small in simulations."""
        digest = hashlib.sha256()
        for line in self._lines():
            digest.update(f"{line}\n".encode())
        return digest.hexdigest()

    def _lines(self) -> Iterable[str]:
        for (kind, key), elements in sorted(self._elements.items()):
            yield f"[{json.dumps(kind)},{json.dumps(key)},[{','.join(elements)}]]"


def _parse(text: str, kinds: dict[str, str]) -> tuple[str, str, dict[str, object]]:
    """The kind of the collection, its key, and the whole request.

    Raises:
        StoreError: the text has another form.
    """
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"not JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("key"), str):
        raise StoreError("the request must be an object with a key, which is a text")
    kind = kinds.get(str(request.get("op")))
    if kind is None:
        raise StoreError(f"op must be one of {', '.join(kinds)}")
    return kind, request["key"], request
