"""The registry of errors: what goes to the wire comes back, for every class."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcore.cli.exits import ExitCode, exit_code_of
from qcore.client.attempts import try_perform
from qcore.client.errors import decode_error, retry_delay
from qcore.display import MAX_ERROR_CHARS
from qcore.errors import (
    AccessRefused,
    ChangeRefused,
    ConfigError,
    DetailValue,
    DiskFull,
    EntityNotFound,
    ErrorReply,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    QcoreError,
    QuotaExceeded,
    Refused,
    RemoteProtocolError,
    StoreError,
    TooLarge,
    TransferFailed,
    UnknownError,
    error_classes,
    from_wire,
    to_wire,
)
from qcore.node.application import EntityApplication, TextApplication
from qcore.replica.messages import ForwardResponse, ReadIndexResponse
from qcore.replica.requests.forwarded_errors import error_of_response, response_of_error
from qcore.replica.requests.pending import PendingRequest
from qcore.transport.address import Address
from qcore.transport.wire import failure

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
IDS = st.none() | st.integers(1, 2**63 - 1)
SCALARS = st.none() | st.booleans() | st.integers() | TEXTS
#: The classes with other parameters than a text.
SPECIAL: dict[type[QcoreError], st.SearchStrategy[QcoreError]] = {
    NotLeader: st.builds(NotLeader, IDS, st.none() | TEXTS, st.none() | TEXTS),
    ChangeRefused: st.builds(ChangeRefused, TEXTS, TEXTS),
    TransferFailed: st.builds(TransferFailed, TEXTS, IDS, IDS),
    QuotaExceeded: st.builds(
        QuotaExceeded, TEXTS, TEXTS, st.integers(0, 10**12), st.integers(0, 10**12), IDS
    ),
    Overloaded: st.builds(Overloaded, TEXTS, st.integers(1, 10**6)),
}
CLASSES = list(error_classes().values())
ERRORS = st.sampled_from(CLASSES).flatmap(
    lambda cls: SPECIAL[cls] if cls in SPECIAL else st.builds(cls, TEXTS)
)
UNKNOWN = st.builds(
    UnknownError,
    TEXTS,
    st.dictionaries(TEXTS, SCALARS).map(lambda given: {**given, "code": "OfANewerNode"}),
)


def content(error: QcoreError) -> tuple[type[QcoreError], str, dict[str, DetailValue]]:
    return type(error), str(error), error.detail()


def through_json(error: QcoreError) -> QcoreError:
    text, detail = json.loads(json.dumps(to_wire(error)))
    return from_wire(text, detail)


@given(ERRORS | UNKNOWN)
def test_what_goes_to_the_wire_comes_back(error: QcoreError) -> None:
    back = through_json(error)
    assert content(back) == content(error)
    assert {name: getattr(back, name) for name in back.fields} == {
        name: getattr(error, name) for name in error.fields
    }
    assert to_wire(back) == to_wire(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_codes_are_spelled_as_in_0_1_0(cls: type[QcoreError]) -> None:
    """0.1.0 takes the name of the class as the code."""
    assert cls.code == cls.__name__
    assert error_classes()[cls.code] is cls


def test_two_classes_cannot_have_one_code() -> None:
    with pytest.raises(TypeError, match="the code 'DiskFull'"):
        type("Another", (QcoreError,), {}, code="DiskFull")
    with pytest.raises(TypeError, match="needs a code"):
        type("Another", (QcoreError,), {}, fields={"leader_id": lambda value: value})


def test_a_class_without_a_code_travels_as_its_base() -> None:
    class OfAUser(TooLarge):
        pass

    assert content(through_json(OfAUser("no"))) == content(TooLarge("no"))


@given(
    st.text(max_size=20),
    st.dictionaries(
        st.sampled_from(["code", "retryable", "leader_id", "name", "retry_after_ms", "term", "x"]),
        SCALARS | st.lists(SCALARS) | st.sampled_from([cls.code for cls in CLASSES]),
    )
    | SCALARS
    | st.lists(SCALARS),
)
def test_any_detail_from_outside_gives_an_error_with_the_text(text: str, detail: object) -> None:
    error = from_wire(text, detail)
    assert str(error) == text
    assert from_wire(text, error.detail()).detail() == error.detail()
    assert isinstance(exit_code_of(error), ExitCode)
    if isinstance(error, Overloaded):
        assert error.retry_after_ms >= 1
    if isinstance(error, NotLeader):
        assert error.leader_id is None or type(error.leader_id) is int


def test_a_number_beyond_those_of_the_wire_is_unknown() -> None:
    detail = {"code": "Overloaded", "retryable": True, "retry_after_ms": 10**400}
    error = from_wire("full", detail)
    assert isinstance(error, Overloaded)
    assert error.retry_after_ms == 1
    assert 1 <= retry_delay(error, 1.0, Random(1)) <= 1.5
    error = from_wire("moved", {"code": "NotLeader", "leader_id": 10**30})
    assert isinstance(error, NotLeader)
    assert error.leader_id is None


def test_an_error_of_a_newer_node_keeps_its_text_and_detail() -> None:
    detail: dict[str, DetailValue] = {"code": "Paused", "retryable": True, "until": 5}
    error = from_wire("the cluster is paused", detail)
    assert content(error) == (UnknownError, "the cluster is paused", detail)
    assert error.retryable
    assert exit_code_of(error) == ExitCode.REJECTED


def test_a_long_text_is_truncated_for_the_wire() -> None:
    error = StoreError("é" * 100_000)
    err, detail = failure(error)
    assert len(err.text) < MAX_ERROR_CHARS + 50
    assert detail == {"code": "StoreError", "retryable": False}
    for application, name in (
        (TextApplication(EntityApplication().machine), "Write"),
        (EntityApplication(), "UpdateEntity"),
    ):
        body = json.loads(application.failure(name, error))[name]
        assert (body["error"], body["detail"]) == (err.text, detail)


@given(ERRORS | UNKNOWN, st.sampled_from(["write", "read_index"]))
def test_what_a_leader_answers_comes_back(error: QcoreError, kind: str) -> None:
    request = PendingRequest(1, 2, kind, "", 0)  # type: ignore[arg-type]  # one of two kinds
    response = response_of_error(request, error)
    assert isinstance(response, ForwardResponse | ReadIndexResponse)
    back = error_of_response(response)
    if isinstance(back, OutcomeUnknown) and not isinstance(error, OutcomeUnknown):
        assert not isinstance(error, StoreError | NotLeader | Overloaded | TooLarge)
        assert str(back).startswith(f"{error.code}: ")
        return
    no_fields = [AccessRefused, ChangeRefused, TransferFailed]
    if kind == "read_index":
        no_fields.append(QuotaExceeded)
    if not isinstance(error, tuple(no_fields)):
        assert type(back) is type(error)
        assert back.detail() == error.detail()
        assert str(back) == (str(error) or "the leader gave no reason")


def test_a_write_is_unknown_if_the_leader_itself_failed() -> None:
    for error in (DiskFull("full"), UnknownError("?", {"code": "Paused", "retryable": True})):
        response = response_of_error(PendingRequest(1, 2, "write", "", 0), error)
        assert type(error_of_response(response)) is OutcomeUnknown


def test_a_client_reads_a_nodes_errors() -> None:
    assert type(decode_error("no", None)) is RemoteProtocolError
    assert type(decode_error("no", ConfigError("no").detail())) is Refused
    assert type(decode_error("no", EntityNotFound("no").detail())) is EntityNotFound
    assert isinstance(decode_error("no", {"code": "Paused"}), UnknownError)


@pytest.mark.parametrize("retryable", [True, False])
def test_a_client_repeats_an_unknown_error_only_if_it_may(*, retryable: bool) -> None:
    """A newer node says so; any other unknown error may be a result of the state machine."""
    detail = {"code": "Paused", "retryable": retryable}
    response = {"Write": {"response": None, "error": "the cluster is paused", "detail": detail}}

    async def send(*_: object) -> dict[str, object]:
        return {"id": "1", "response": response}

    async def attempt() -> object:
        return await try_perform(send, Address("h", 1), {}, 1.0, repeatable=False)

    if retryable:
        with pytest.raises(UnknownError, match="the cluster is paused"):
            asyncio.run(attempt())
    else:
        assert asyncio.run(attempt()) == response


def test_an_error_envelope_keeps_the_other_ends_detail() -> None:
    detail: dict[str, DetailValue] = {"code": "RemoteProtocolError", "field": "Init.nodes"}
    error = ErrorReply("Init.nodes: missing", detail)
    assert error.detail() == {**detail, "retryable": False}
    assert str(ErrorReply(5)) == "an error without a text"
