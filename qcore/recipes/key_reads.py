"""Reads that recipes share."""

from __future__ import annotations

import contextlib
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from qcore.errors import ConfigError, RemoteProtocolError, WatchCompacted
from qcore.kv.key_values import KeyVersion, Page, TxnResult
from qcore.kv.txn_parts import Range
from qcore.recipes.checked_arguments import checked_text

if TYPE_CHECKING:
    from qcore.kv.key_watches import KeyWatch
    from qcore.kv.kv_client import KeyValue


class State(NamedTuple):
    """The keys with a prefix as of one revision.

    Attributes:
        kvs: the keys, in order.
        revision: the revision. A watch from the next one on misses nothing.
    """

    kvs: list[KeyVersion]
    revision: int


async def read_state(kv: KeyValue, prefix: str | bytes, *, keys_only: bool = False) -> State:
    """All keys with a prefix, as of the newest revision.

    Raises:
        RevisionCompacted: the revision was compacted while later pages were read.
    """
    return await read_range(kv, Range(prefix=prefix, keys_only=keys_only))


async def read_range(kv: KeyValue, request: Range) -> State:
    """All keys of a range, as of one revision: that of the request, or the newest one.

    Raises:
        RevisionCompacted: the revision was compacted, perhaps while later pages were read.
        RevisionInFuture: the cluster has not reached the revision.
    """
    page = await kv.range(request)
    kvs, revision = [*page.kvs], page.revision if request.revision is None else request.revision
    while page.after is not None:
        page = await kv.range(replace(request, after=page.after, revision=revision))
        kvs += page.kvs
    return State(kvs, revision)


def read_again_when_resumed(watch: KeyWatch) -> KeyWatch:
    """Let a watch raise `WatchCompacted` after it was resumed, so that its user reads the keys again.

    The restore of a backup changes keys without a change that a watch shows. A watch that goes through it is resumed.
    """

    async def read_again() -> None:
        raise WatchCompacted(
            "the watch was resumed, maybe after the restore of a backup: read the keys again"
        )

    watch.when_resumed(read_again)
    return watch


def page_of_txn(done: TxnResult, index: int) -> Page:
    """The page that an operation of a transaction has read.

    Raises:
        RemoteProtocolError: a node sent something else.
    """
    page = done.results[index] if index < len(done.results) else None
    if not isinstance(page, Page):
        raise RemoteProtocolError(
            f"the node's result {index} of a transaction is no page: {page!r}"[:300]
        )
    return page


def prefix_of(recipe: str, name: str) -> str:
    """The prefix of the keys of one recipe with a name: `lock/jobs/nightly//`. No such prefix begins another one.

    Raises:
        ConfigError: the name cannot be used.
    """
    checked_text(f"name of the {recipe}", name)
    if not name or "" in name.split("/"):
        raise ConfigError(
            f"{recipe}: the name {name!r} is empty, or has an empty part: write it like 'jobs/nightly'"
        )
    return f"{recipe}/{name}//"


def integer_of(version: KeyVersion) -> int:
    """The integer that a key holds, as decimal digits.

    Raises:
        ConfigError: it holds something else, or more digits than Python converts.
    """
    if re.fullmatch(rb"-?[0-9]+", version.value):
        with contextlib.suppress(ValueError):
            return int(version.value)
    raise ConfigError(
        f"the key {version.key.decode(errors='replace')} holds {version.value[:50]!r}, which is no integer of at most "
        f"{sys.get_int_max_str_digits()} decimal digits: another program has written it; correct or delete it"
    )
