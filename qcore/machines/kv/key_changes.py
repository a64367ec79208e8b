"""What watches of the key-value machine receive: changes of keys, and the requests that choose among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pydantic_core import from_json

from qcore.errors import StoreError
from qcore.machines.interface import Change
from qcore.machines.kv.requests import Fields, KeyRange
from qcore.machines.kv.result_texts import version_json
from qcore.machines.kv.texts import json_of
from qcore.machines.kv.versions import Version

#: Every change has this topic.
ALL: Final = "*"
#: A change also has the topics of the directories that hold its key: those of its first parts between slashes.
MAX_DIRECTORIES: Final = 8
#: About the memory that a change holds besides its version, bytes.
_CHANGE_BYTES: Final = 100
TYPES: Final = ("put", "delete")


class KeyChanged:
    """A key was set or deleted. The texts are made when a watch receives them.

    Args:
        changes: the changes of one command, in order.
        at: the place of this one among them.

    Attributes:
        version: the key after the change.
    """

    __slots__ = ("_at", "_changes", "version")

    def __init__(self, changes: Sequence[Version], at: int) -> None:
        self._changes = changes
        self._at = at
        self.version = changes[at]

    @property
    def topics(self) -> tuple[str, ...]:
        """See `Change`: the key, the directories above it, and `ALL`."""
        key = self.version.key
        topics = [ALL, topic_of(key)]
        at = key.find(b"/")
        while at >= 0 and len(topics) < MAX_DIRECTORIES + 2:
            topics.append(topic_of_directory(key[: at + 1]))
            at = key.find(b"/", at + 1)
        return tuple(topics)

    def following(self) -> Iterator[Version]:
        """The later changes of the command."""
        for at in range(self._at + 1, len(self._changes)):
            yield self._changes[at]

    @property
    def body(self) -> str:
        """See `Change`."""
        return self.text(with_previous=False)

    @property
    def size_bytes(self) -> int:
        """See `Change`. The machine's own history holds the version."""
        return _CHANGE_BYTES

    def text(self, *, with_previous: bool, more: bool = False) -> str:
        """The change as JSON.

        Args:
            with_previous: with the key before the change, if it existed and its version is still kept.
            more: whether the watch receives another change of the command.
        """
        version, before = self.version, ',"more":true' if more else ""
        previous = version.previous
        if with_previous and previous is not None and previous.number:
            before = f',"prev":{version_json(previous)}{before}'
        if version.number:
            return f'{{"type":"put","kv":{version_json(version)}{before}}}'
        kv = f'{{"key":{json_of(version.key)},"mod_revision":{version.revision}}}'
        return f'{{"type":"delete","kv":{kv}{before}}}'


def kind_of(version: Version) -> str:
    """`put` or `delete`."""
    return "put" if version.number else "delete"


class KeyWatch:
    """What one watch receives (`WatchFilter`).

    Args:
        keys: the keys that it watches.
        topic: a topic that every change of these keys has.
        kinds: `put`, `delete` or both.
        with_previous: with the key before each change.
    """

    def __init__(
        self, keys: KeyRange, topic: str, kinds: tuple[str, ...], *, with_previous: bool
    ) -> None:
        self.topic = topic
        self._keys = keys
        self._kinds = kinds
        self._with_previous = with_previous

    def notice(self, change: Change, *, live: bool) -> str | None:
        """See `WatchFilter`."""
        assert isinstance(change, KeyChanged), "the machine makes no other changes"
        if not self._receives(change.version):
            return None
        more = any(map(self._receives, change.following()))  # it stops at the next one
        return change.text(with_previous=self._with_previous, more=more)

    def _receives(self, version: Version) -> bool:
        return version.key in self._keys and kind_of(version) in self._kinds


def key_watch(text: str) -> KeyWatch:
    """The watch that a request asks for: a range of keys, `types` and `prev`.

    Raises:
        StoreError: it is no request.
    """
    try:
        request = from_json(text)
    except (ValueError, TypeError):  # TypeError: text with lone surrogates
        raise StoreError("not JSON") from None
    if not isinstance(request, dict):
        raise StoreError('a watch is a JSON object, such as {"prefix": "config/"}')
    prefix = request.get("prefix")
    fields = Fields(request, "")
    keys = fields.keys()
    kinds = TYPES if not fields.has("types") else fields.choices("types", TYPES)
    with_previous = fields.flag("prev")
    fields.end()
    topic = ALL
    if keys.single:
        topic = topic_of(keys.begin)
    elif prefix is not None and keys.begin.endswith(b"/"):
        is_deep = keys.begin.count(b"/") > MAX_DIRECTORIES
        topic = ALL if is_deep else topic_of_directory(keys.begin)
    return KeyWatch(keys, topic, kinds, with_previous=with_previous)


def topic_of(key: bytes) -> str:
    """The topic of one key."""
    return f"={json_of(key)}"


def topic_of_directory(directory: bytes) -> str:
    """The topic of all keys that begin with this text, which ends with a slash."""
    return f"/{json_of(directory)}"
