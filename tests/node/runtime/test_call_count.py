"""The road of a message between socket and replica stays short. A count of calls is the same on every machine."""

from __future__ import annotations

from benchmarks.counts.count_calls import count_append, count_write, road_length


def test_a_write_takes_few_calls_between_socket_and_replica() -> None:
    calls = count_write()
    assert road_length(calls) < 58, calls


def test_an_append_takes_few_calls_between_socket_and_replica() -> None:
    calls = count_append()
    assert road_length(calls) < 40, calls
