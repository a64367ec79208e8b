"""What the gateway answers differently on purpose. Each sequence ends with the step that has another answer."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.gateway.differential.corpus.transactions import do_delete, do_put
from tests.gateway.differential.steps import Call, Read, Sequence, Step, Watch, b64, call, put, txn


class Deviation(NamedTuple):
    """Attributes:
    sequence: the last of its steps has another answer.
    why: the reason.
    """

    sequence: Sequence
    why: str


def single(name: str, why: str, *steps: Step) -> Deviation:
    return Deviation(Sequence(f"deviation_{name}", steps), why)


DEVIATIONS: Final = (
    single(
        "negative_lease",
        "leases of the machine have numbers above 0; no known client asks for another",
        call("/v3/lease/grant", {"TTL": 700, "ID": -3}),
    ),
    single(
        "key_of_numbers",
        "Go's parser takes a JSON array of numbers as bytes; the JSON mapping of protobuf does not",
        Call("/v3/kv/put", '{"key": [97]}'),
    ),
    single(
        "empty_array_as_key",
        "the same",
        Call("/v3/kv/put", '{"key": []}'),
    ),
    single(
        "later_message_is_no_json",
        "etcd takes a wrong message behind the first one as the end of the messages; the gateway says what is wrong",
        call("/v3/lease/grant", {"TTL": 700, "ID": 4242}),
        Call("/v3/lease/keepalive", '{"ID": 4242} bad'),
    ),
    single(
        "later_message_of_a_watch",
        "the same",
        Watch("w", '{"create_request": {"key": "YQ=="}}{"create_request": {"key": "!!"}}'),
        put("a", "1"),
        Read("w", 1),
    ),
    single(
        "two_mistakes_of_a_put",
        "in a transaction, etcd looks for the key before the lease; in a plain put, it looks for the lease first",
        txn([], [{"request_put": {"key": b64("b"), "lease": 11, "ignore_value": True}}]),
    ),
    single(
        "put_and_delete_to_the_end",
        "etcd 3.4 refuses a put and a deletion of one key, but overlooks a range without an end",
        put("a", "1"),
        txn([], [do_put("a"), do_delete("a", "\x00")]),
    ),
)

SEQUENCES: Final = tuple(deviation.sequence for deviation in DEVIATIONS)
