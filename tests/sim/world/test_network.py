"""The simulated network: order, impairments and cuts, and that every impairment is counted."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from qcore.core.messages import RequestVoteResponse
from qcore.replica.messages import Forward
from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.scenario.distributions import fixed, uniform
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.network import Link, LinkQuality, Network
from qcore.sim.world.random_streams import Streams

MESSAGE = RequestVoteResponse(1, True)


class Pair:
    """Two vertices, 1 and 2, with links in both directions, and the messages between them."""

    def __init__(self, quality: LinkQuality, seed: int = 1) -> None:
        self.engine = Engine()
        self.arrivals: list[tuple[int, str]] = []
        self.drops: list[tuple[str, str]] = []
        self.network = Network(self.engine, Streams(seed), self._dropped)
        for source, target in ((1, 2), (2, 1)):
            self.network.connect(source, target, self._arrived, quality)
        self.link = self.network.link(1, 2)

    def _arrived(self, _source: int, _payload: object, message_id: str) -> None:
        self.arrivals.append((self.engine.now, message_id))

    def _dropped(self, _link: Link, _payload: object, message_id: str, why: str) -> None:
        self.drops.append((message_id, why))

    def send(self, count: int, gap_us: int = 10, payload: object = MESSAGE) -> None:
        for number in range(count):
            message_id = str(number)
            self.engine.at(
                number * gap_us,
                lambda message_id=message_id: self.network.send(  # type: ignore[misc]  # binds the value of the loop
                    self.link, payload, message_id
                ),
            )

    def order(self) -> list[int]:
        return [int(message_id) for _, message_id in self.arrivals]


@given(st.integers(0, 2**32))
def test_a_link_keeps_the_order_of_its_messages(seed: int) -> None:
    pair = Pair(LinkQuality(latency=uniform(1, 30)), seed)
    pair.send(50)
    pair.engine.run(1_000_000)
    assert pair.order() == list(range(50))
    times = [time for time, _ in pair.arrivals]
    assert times == sorted(times)
    assert times[0] >= 1000


def test_a_reordering_link_changes_the_order() -> None:
    pair = Pair(LinkQuality(latency=fixed(1), reorder=0.5, reorder_extra=uniform(0, 20)))
    fault = pair.link.faults_by_setting["reorder"] = Fault("reorder")
    pair.send(100)
    pair.engine.run(1_000_000)
    assert sorted(pair.order()) == list(range(100))
    assert pair.order() != sorted(pair.order())
    assert 20 < fault.acted < 80


def test_loss_drops_about_its_share_and_counts_each_drop() -> None:
    pair = Pair(LinkQuality(latency=fixed(1), loss=0.3))
    fault = pair.link.faults_by_setting["loss"] = Fault("loss")
    pair.send(2000)
    pair.engine.run(1_000_000)
    assert 500 < fault.acted < 700
    assert fault.acted == len(pair.drops) == pair.network.dropped
    assert len(pair.arrivals) == 2000 - fault.acted
    assert {why for _, why in pair.drops} == {"lost"}


def test_duplicates_arrive_twice_and_are_counted() -> None:
    pair = Pair(LinkQuality(latency=fixed(1), duplicate=0.5))
    fault = pair.link.faults_by_setting["duplicate"] = Fault("duplicate")
    pair.send(1000)
    pair.engine.run(1_000_000)
    assert 400 < fault.acted < 600
    assert len(pair.arrivals) == 1000 + fault.acted


def test_a_forwarded_request_is_never_duplicated() -> None:
    pair = Pair(LinkQuality(latency=fixed(1), duplicate=1.0))
    pair.send(50, payload=Forward(1, "write", "x", 100))
    pair.engine.run(1_000_000)
    assert len(pair.arrivals) == 50


def test_a_cut_loses_new_messages_and_those_in_flight() -> None:
    pair = Pair(LinkQuality(latency=fixed(5)))
    fault = Fault("cut")
    pair.send(10, gap_us=1000)  # sent at 0 to 9 ms, due at 5 to 14 ms
    pair.engine.at(7500, lambda: pair.network.cut([(1, 2)], Firing(fault)))
    pair.engine.run(1_000_000)
    assert pair.order() == [0, 1, 2]
    assert fault.acted == len(pair.drops) == 7


def test_a_cut_is_one_way_unless_both_ways_are_cut() -> None:
    pair = Pair(LinkQuality(latency=fixed(1)))
    pair.network.cut([(1, 2)], Firing(Fault("cut")))
    pair.network.send(pair.network.link(2, 1), MESSAGE, "7")
    pair.network.send(pair.link, MESSAGE, "8")
    pair.engine.run(1_000_000)
    assert pair.order() == [7]


def test_a_link_cut_twice_stays_cut_until_both_cuts_end() -> None:
    pair = Pair(LinkQuality(latency=fixed(1)))
    first, second = Firing(Fault("first")), Firing(Fault("second"))
    pair.network.cut([(1, 2)], first)
    pair.network.cut([(1, 2)], second)
    pair.network.heal([(1, 2)], first)
    pair.network.send(pair.link, MESSAGE, "1")
    pair.network.heal([(1, 2)], second)
    pair.network.send(pair.link, MESSAGE, "2")
    pair.engine.run(1_000_000)
    assert pair.order() == [2]
    assert (first.fault.acted, second.fault.acted) == (0, 1)


def test_bandwidth_makes_messages_queue() -> None:
    pair = Pair(LinkQuality(latency=fixed(1), bandwidth_bytes_per_s=16_000))  # 160 bytes take 10 ms
    fault = pair.link.faults_by_setting["bandwidth"] = Fault("bandwidth")
    pair.send(3, gap_us=0)
    pair.engine.run(1_000_000)
    assert [time for time, _ in pair.arrivals] == [11_000, 21_000, 31_000]
    assert fault.acted == 3, "each message takes longer, even the one that does not queue"


def test_a_full_queue_loses_messages() -> None:
    quality = LinkQuality(latency=fixed(1), bandwidth_bytes_per_s=16_000, queue_length=2)
    pair = Pair(quality)
    fault = pair.link.faults_by_setting["queue_length"] = Fault("queue")
    pair.send(5, gap_us=4000)  # at 0, 4, 8, 12 and 16 ms; each takes 10 ms
    pair.engine.run(1_000_000)
    assert [time for time, _ in pair.arrivals] == [11_000, 21_000, 31_000]
    assert pair.order() == [0, 1, 3]
    assert pair.drops == [("2", "queue full"), ("4", "queue full")]
    assert fault.acted == 2


@given(st.integers(0, 2**32), st.integers(0, 20_000), st.integers(0, 20_000))
def test_a_clog_delays_messages_and_keeps_their_order(seed: int, begin: int, length: int) -> None:
    pair = Pair(LinkQuality(latency=uniform(1, 10)), seed)
    firing = Firing(Fault("clog"))
    pair.engine.at(begin, lambda: pair.network.clog([(1, 2)], firing))
    pair.engine.at(begin + length, lambda: pair.network.unclog([(1, 2)], firing))
    pair.send(50, gap_us=300)
    pair.engine.run(1_000_000)
    assert pair.order() == list(range(50))
    late = [time for time, _ in pair.arrivals if begin < time < begin + length]
    assert late == []
    waited = [time for time, _ in pair.arrivals if time == begin + length]
    assert firing.fault.acted <= len(waited)


def test_a_clogged_link_still_loses_what_is_cut() -> None:
    pair = Pair(LinkQuality(latency=fixed(1)))
    clog, cut = Firing(Fault("clog")), Firing(Fault("cut"))
    pair.network.clog([(1, 2)], clog)
    pair.send(3)
    pair.engine.at(5000, lambda: pair.network.cut([(1, 2)], cut))
    pair.engine.at(6000, lambda: pair.network.unclog([(1, 2)], clog))
    pair.engine.run(1_000_000)
    assert pair.order() == []
    assert (clog.fault.acted, cut.fault.acted) == (3, 3)


def test_loss_and_latency_draw_from_separate_streams() -> None:
    """Loss must not change the latencies of the messages that arrive."""

    def arrivals(quality: LinkQuality) -> dict[str, int]:
        pair = Pair(quality)
        pair.send(200, gap_us=50_000)
        pair.engine.run(20_000_000)
        return {message_id: time for time, message_id in pair.arrivals}

    lossless = LinkQuality(latency=uniform(1, 30))
    undisturbed, lossy = arrivals(lossless), arrivals(replace(lossless, loss=0.4))
    assert 0 < len(lossy) < 200
    assert lossy == {message_id: undisturbed[message_id] for message_id in lossy}


def test_each_link_has_separate_random_streams() -> None:
    streams = Streams(5)
    draws = {
        name: streams.get(name).random() for name in ("link/1/2/latency", "link/2/1/latency", "x")
    }
    assert len(set(draws.values())) == 3
    assert Streams(5).get("x").random() == draws["x"]
    assert Streams(6).get("x").random() != draws["x"]
