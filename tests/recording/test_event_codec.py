"""Every event of a replica can be recorded and read again, and every effect has a digest."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core.effects import AppendLog, RoleChanged, SaveCommit, Send
from qcore.core.entry import Entry
from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntries, TimeoutNow
from qcore.recording.dataclass_codec import to_list
from qcore.recording.effect_digest import EFFECT_CLASSES, digest_of_effects, kinds_text
from qcore.recording.event_codec import EVENT_CLASSES, MESSAGE_CLASSES, read_event, write_event
from qcore.replica.events import ClientRequest, ReplicaEffect, Reply
from tests.recording.sample_values import effect_strategies, event_strategies

EVENTS = event_strategies()
EFFECTS = effect_strategies()


def test_the_samples_cover_every_event_and_message() -> None:
    assert set(EVENTS) == {*EVENT_CLASSES, *MESSAGE_CLASSES}
    assert len(EVENTS) == 18 + 15
    assert set(EFFECTS) == {cls.__name__ for cls in EFFECT_CLASSES}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_read_as_it_was_written(name: str) -> None:
    @settings(max_examples=15)
    @given(event=EVENTS[name])
    def check(event: object) -> None:
        text = json.dumps(write_event(event), ensure_ascii=False)  # type: ignore[arg-type]  # any event
        again = read_event(
            json.loads(text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass"))
        )
        assert again == event
        assert type(again) is type(event)

    check()


@pytest.mark.parametrize("name", EFFECTS)
def test_equal_effects_have_equal_digests(name: str) -> None:
    @settings(max_examples=10)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        effect = data.draw(EFFECTS[name])
        first = digest_of_effects([effect])
        assert digest_of_effects([effect]) == first
        twice = digest_of_effects([effect, effect])
        assert twice.kinds == f"{first.kinds}2"
        assert kinds_text(twice.kinds) == f"{name} x2"

    check()


def entry(data: str = "x") -> Entry:
    return Entry(7, 2, "command", data, 5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SaveCommit(3), SaveCommit(4)),
        (RoleChanged("leader", 2, 1), RoleChanged("leader", 2, None)),
        (AppendLog(1, [entry()]), AppendLog(1, [entry("y")])),
        (Reply(1, "a", 7, None), Reply(1, "b", 7, None)),
        (Send(2, TimeoutNow(3, 1), 0), Send(2, TimeoutNow(3, 1), 9)),
        (Send(2, TimeoutNow(3, 1), 0), Send(3, TimeoutNow(3, 1), 0)),
        (
            Send(2, AppendEntries(3, 1, 6, 2, 5, [entry()]), 0),
            Send(2, AppendEntries(3, 1, 6, 2, 5, []), 0),
        ),
    ],
)
def test_other_effects_have_other_digests(one: ReplicaEffect, other: ReplicaEffect) -> None:
    assert digest_of_effects([one]) != digest_of_effects([other])
    first, second = digest_of_effects([one, other]), digest_of_effects([other, one])
    assert first.checksum != second.checksum, "the order counts"


def test_a_written_event_does_not_change_with_the_event() -> None:
    message = AppendEntries(3, 1, 6, 2, 5, [entry()])
    written = write_event(MessageReceived(1, message))
    message.entries.append(entry())
    assert len(written[7]) == 1


@pytest.mark.parametrize(
    "found", [[], ["Unknown"], [1, "Unknown"], ["ClientRequest", 1], ["Tick", 1], 7, [2, "Tick"]]
)
def test_what_is_no_event_is_refused(found: object) -> None:
    with pytest.raises(ValueError, match=r"no event|has \d fields"):
        read_event(found)


def test_a_field_of_an_unknown_type_is_refused() -> None:
    @dataclass
    class Odd:
        value: complex

    Odd.__annotations__["value"] = complex
    with pytest.raises(TypeError, match="the recording of a"):
        to_list(Odd)


def test_a_request_is_short() -> None:
    text = json.dumps(write_event(ClientRequest(1, "write", "set", 5000)), separators=(",", ":"))
    assert text == '["ClientRequest",1,"write","set",5000,0,""]'
