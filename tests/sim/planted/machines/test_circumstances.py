"""The parts of the check: other clocks and entropy for one thread and one block, and the texts of differences."""

from __future__ import annotations

import copy
import datetime
import os
import pickle
import random
import sys
import time
import uuid
from threading import Thread

import pytest

from qcore.sim.determinism.circumstances.set_order import ORDERED, with_ordered_sets
from qcore.sim.determinism.circumstances.shadows import Shadows
from qcore.sim.determinism.copies import content_of
from qcore.sim.determinism.state_difference import describe_difference

ME = sys.modules[__name__]


def readings() -> tuple[object, ...]:
    """Everything that a variant decides."""
    return (
        time.time(),
        time.monotonic_ns(),
        time.strftime("%Y"),
        datetime.datetime.now(),
        datetime.datetime.now(datetime.UTC),
        datetime.date.today(),
        random.random(),
        random.Random().random(),
        random.SystemRandom().random(),
        uuid.uuid4(),
        uuid.uuid1(),
        os.urandom(8),
        os.getpid(),
    )


def test_a_variant_decides_every_clock_and_all_entropy() -> None:
    with Shadows([ME]) as shadows:
        with shadows.begin({"clock": 1}):
            one = readings()
        with shadows.begin({"clock": 1}):
            again = readings()
        with shadows.begin({"clock": 2, "entropy": 2, "process": 2}):
            other = readings()
    assert one[:-3] == again[:-3]  # `uuid1` never gives the same twice
    assert one[-2:] == again[-2:]
    assert not [a for a, b in zip(one, other, strict=True) if a == b]


def test_outside_the_block_and_on_other_threads_all_is_real() -> None:
    real = (
        time.time,
        datetime.datetime,
        datetime.date,
        random.random,
        os.urandom,
        random.Random.seed,
    )
    state = random.getstate()
    found: list[float] = []
    with Shadows([ME]) as shadows:
        assert abs(time.time() - real[0]()) < 100
        with shadows.begin({}):
            thread = Thread(target=lambda: found.append(time.time()))
            thread.start()
            thread.join()
            assert abs(time.time() - real[0]()) > 1e6
        assert abs(found[0] - real[0]()) < 100
        assert datetime.datetime.now().year == real[1].now().year
    now = time.time, datetime.datetime, datetime.date, random.random, os.urandom, random.Random.seed
    assert now == real
    assert random.getstate() == state
    assert "id" not in vars(ME)


def test_replaced_classes_work_like_the_real_ones() -> None:
    real = datetime.datetime(2020, 2, 3, 4, 5, tzinfo=datetime.UTC)
    day = real.date()
    text = pickle.dumps((real, day))
    with Shadows([ME]):
        made = datetime.datetime(2020, 2, 3, 4, 5, tzinfo=datetime.UTC)
        assert type(made) is type(real)
        assert made == real
        assert repr(made) == repr(real)
        assert isinstance(real, datetime.datetime)
        assert isinstance(day, datetime.date)
        assert issubclass(type(real), datetime.date)
        assert not isinstance(day, datetime.datetime)
        assert pickle.loads(pickle.dumps((made, day))) == (real, day)
        assert pickle.dumps((made, made.date())) == text
        assert copy.deepcopy(made) == real
        assert datetime.datetime.strptime("2020", "%Y").year == 2020
        assert datetime.datetime.max > real.replace(tzinfo=None)


def test_calls_are_recorded_with_their_place() -> None:
    with Shadows([ME]) as shadows, shadows.begin({}):
        time.time()
        random.Random(5).random()
        calls = list(shadows.calls)
    assert [source for source, _ in calls] == ["time.time"]
    assert calls[0][1].startswith("test_circumstances.py:")


def test_the_order_of_sets_is_reversed_where_it_matters() -> None:
    source = (
        "s = {1, 2, 3}\n"
        "found = [list(s), [x for x in s], [*s], ','.join({'a'}), sum(s), [y for y in [3, 1]], dict.fromkeys(s)]\n"
        "a, b, c = s\n"
        "for x in s: break\n"
    )
    names: dict[str, object] = {
        ORDERED: lambda value: sorted(value)[::-1] if isinstance(value, set) else value
    }
    exec(compile(with_ordered_sets(source, "x.py"), "x.py", "exec"), names)
    assert names["found"] == [[3, 2, 1]] * 3 + ["a", 6, [3, 1], {3: None, 2: None, 1: None}]
    assert (names["a"], names["x"]) == (3, 3)


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        ("same", "same", "the snapshots are equal"),
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', "$.a.b[1]: 2 against 3"),
        ('{"a": 1}', '{"a": 1, "x y": null}', "$['x y']: nothing against null"),
        ('{"a": true}', '{"a": 1}', "$.a: true against 1"),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', 'the order of the keys of $: ["a", "b"] against'),
        ("[1, 2, 3]", "[3, 2, 1]", "the order of $: [1, 2, 3] against [3, 2, 1]"),
        ("[1, 2, 3]", "[1, 3]", "$[1]: [2] against nothing"),
        ('{"a": 1}\n{"b": 2}\n', '{"a": 1}\n{"b": 3}\n', "line 2 $.b: 2 against 3"),
        ("one\ntwo", "one\ntoo", "line 2: 'two' against 'too'"),
        ('{"a": 1}', '{"a":1}', "from character 6 on, "),
        (
            "[1, 2, 3, 4]",
            "[5, 6, 7, 8]",
            "$[0]: 1 against 5, $[1]: 2 against 6, $[2]: 3 against 7, and more",
        ),
    ],
)
def test_the_difference_of_two_snapshots_is_short(one: str, other: str, text: str) -> None:
    assert describe_difference(one, other).startswith(text)


def test_equal_content_does_not_depend_on_order() -> None:
    assert content_of('{"a": [1, 2], "b": 3}') == content_of('{"b": 3, "a": [2, 1]}')
    assert content_of("[1]\nx\n") == content_of("x\n[1]\n")
    assert content_of('{"a": [1, 2]}') != content_of('{"a": [1, 1]}')
    assert content_of('{"a": 1}') != content_of('{"a": true}')
