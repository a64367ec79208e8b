"""Foundings, ballots and votes as messages of the wire, and back."""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from qcore.errors import RemoteProtocolError
from qcore.node.discovery.protocol.founding import (
    MAX_ROUND,
    Acceptance,
    Ballot,
    Founder,
    Founding,
    Identities,
    Promises,
)
from qcore.transport.wire import (
    AcceptedFounding,
    AcceptFounding,
    FounderInfo,
    FoundingList,
    FoundingVote,
    GetFounder,
    PromiseFounding,
)

#: A question of a node that founds a cluster, and what is signed of an answer.
Question = GetFounder | PromiseFounding | AcceptFounding
Answer = FounderInfo | FoundingVote

_T = TypeVar("_T")
_adapters: Final[dict[type, TypeAdapter[Any]]] = {}  # Any: one of the classes above


def fields_of(message: Question | Answer) -> dict[str, Any]:  # Any: JSON values
    """The fields of a message as they are sent."""
    fields: dict[str, Any] = _adapter(type(message)).dump_python(
        message, mode="json", by_alias=True
    )
    return fields


def answer_of(cls: type[_T], value: object) -> _T:
    """The content of a response.

    Raises:
        RemoteProtocolError: it is not one.
    """
    try:
        found: _T = _adapter(cls).validate_json(json.dumps(value), strict=True)
    except ValueError as error:
        raise RemoteProtocolError(f"the answer is no {cls.__name__}: {error}"[:300]) from None
    return found


def _adapter(cls: type) -> TypeAdapter[Any]:
    return _adapters.get(cls) or _adapters.setdefault(cls, TypeAdapter(cls))


def ballot_of(pair: tuple[int, int]) -> Ballot:
    """A ballot as it was sent.

    Raises:
        RemoteProtocolError: its round is too high.
    """
    if pair[0] > MAX_ROUND:
        raise RemoteProtocolError(f"ballot: the round {pair[0]} is above {MAX_ROUND}")
    return Ballot(*pair)


def identities_in(message: PromiseFounding) -> Identities:
    """The founders that a request for a promise names."""
    return tuple((node, key) for node, key in message.founders)


def list_of(founding: Founding) -> FoundingList:
    """A founding to send."""
    entries = [(each.node_id, each.address, each.public_key) for each in founding.founders]
    return FoundingList(founding.token, founding.cluster_id, entries)


def founding_of(message: FoundingList) -> Founding:
    """A founding as it was sent."""
    return Founding(
        message.token, message.cluster_id, tuple(Founder(*each) for each in message.founders)
    )


def vote_of(node_id: int, promises: Promises, why: str) -> FoundingVote:
    """The vote of a node with these promises, without its signature; granted if `why` is empty."""
    accepted = promises.accepted
    sent = None
    if accepted is not None:
        sent = AcceptedFounding(accepted.ballot, list_of(accepted.founding))
    return FoundingVote(node_id, not why, promises.promised, sent, why[:2000], "")


def acceptance_in(vote: FoundingVote) -> Acceptance | None:
    """What the voter has accepted.

    Raises:
        RemoteProtocolError: the round of its ballot is too high.
    """
    if vote.accepted is None:
        return None
    return Acceptance(ballot_of(vote.accepted.ballot), founding_of(vote.accepted.founding))
