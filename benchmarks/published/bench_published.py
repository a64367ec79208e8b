"""Published figures beside those of this simulator: elections, partial partitions, replaced servers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import comb

from benchmarks.published import partial_partitions, replaced_servers
from qcore.sim import ElectionFigures, measure_elections

#: Ongaro's dissertation, chapter 9: split votes in percent, by nodes and failed servers, for l = 0.1 and l = 0.2.
SPLITS = {
    (3, 0): (2.8, 10.4),
    (3, 1): (19.0, 36.0),
    (5, 0): (0.86, 5.8),
    (5, 1): (5.2, 18.1),
    (5, 2): (27.1, 48.8),
}
#: The same chapter, AvailSim: failed servers -> mean, p50, p90, p99, p99.9 in ms.
WIDE_AREA = {0: (430.0, 410, 489, 834, 991), 1: (468.7, 423, 563, 1007, 1387)}
#: The same chapter, LogCabin: election timeouts -> mean, median, p95 and max in ms, measured on real machines.
LOCAL = {
    (150, 155): (345, 287, 764, 2143),
    (150, 175): (164, 141, 314, 610),
    (150, 200): (156, 146, 296, 513),
    (150, 300): (181, 171, 265, 603),
    (100, 200): (125, 120, 183, 335),
    (50, 100): (71, 67, 120, 253),
    (25, 50): (48, 43, 83, 276),
}
#: What stands for the machines of that table: a fast network, and writes to disk of 6 ms on average, often less and
#: sometimes much more.
LOCAL_LATENCY, LOCAL_DISK = "uniform:0.2:0.8", "exponential:6"


def split_probability(nodes: int, failed: int, share: float) -> float:
    """The closed form; `share` is the latency by the range of the timeouts."""
    available = nodes - failed
    needed = available - nodes // 2
    return sum(
        comb(available, k) * share**k * (1 - share) ** (available - k)
        for k in range(needed, available + 1)
    )


def split_votes(trials: int) -> None:
    """The table of split votes, and what follows from it."""
    print(
        "split votes, % of the elections: published, closed form, measured; terms: 1/(1-p), measured"
    )
    print(" nodes  failed    l   published  closed form  measured   1/(1-p)  terms")
    for (nodes, failed), row in SPLITS.items():
        for share, published in zip((0.1, 0.2), row, strict=True):
            p = split_probability(nodes, failed, share)
            found = measure_elections(
                nodes=nodes,
                failed=failed,
                latency=1000 * share,
                timeout_ms=(5000, 6000),
                trials=trials,
                fresh_timers=True,
            )
            print(
                f"{nodes:6} {failed:7} {share:4} {published:11} {100 * p:12.2f} "
                f"{100 * found.split_vote_rate:9.2f} {1 / (1 - p):9.3f} {found.mean_terms:6.3f}"
            )
    print(
        "latency uniform in 0.1 to 0.2 of the range, n = 5: published 16 % (1 failed), about 40 % (2 failed)"
    )
    for failed in (1, 2):
        found = measure_elections(
            nodes=5,
            failed=failed,
            latency="uniform:100:200",
            timeout_ms=(5000, 6000),
            trials=trials,
            fresh_timers=True,
        )
        print(f"   {failed} failed: measured {100 * found.split_vote_rate:.1f} %")
    print("earliest of s timeouts, share of the range: 1/(s+1), measured")
    for available in (2, 3, 5, 9):
        found = measure_elections(
            nodes=available,
            latency=1,
            timeout_ms=(5000, 6000),
            trials=trials,
            fresh_timers=True,
        )
        assert found.first_timeout_ms is not None
        print(
            f"   s = {available}: {1 / (available + 1):.4f} {(found.first_timeout_ms - 5000) / 1000:.4f}"
        )


def _row(values: tuple[float | None, ...]) -> str:
    return " ".join("      -" if value is None else f"{value:7.0f}" for value in values)


def wide_area(trials: int) -> None:
    """AvailSim's table."""
    print(f"\nwide area, ms without a leader, {trials} trials: mean, p50, p90, p99, p99.9")
    for failed, published in WIDE_AREA.items():
        began = time.perf_counter()
        found = measure_elections(
            nodes=5,
            failed=failed,
            latency="uniform:30:40",
            timeout_ms=(300, 600),
            trials=trials,
            fresh_timers=True,
        )
        rate = trials / (time.perf_counter() - began)
        print(f"   {failed} failed  published {_row(published)}")
        measured = (found.mean_ms, found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms)
        print(f"             measured  {_row(measured)}   ({rate:.0f} trials/s)")


def _local(timeouts: tuple[int, int], trials: int, *, pre_vote: bool) -> ElectionFigures:
    return measure_elections(
        nodes=5,
        crash_leader=True,
        heartbeat_ms=timeouts[0] / 2,
        ineligible=2,
        latency=LOCAL_LATENCY,
        disk=LOCAL_DISK,
        timeout_ms=timeouts,
        trials=trials,
        pre_vote=pre_vote,
    )


def local_network(trials: int) -> None:
    """LogCabin's table, in shape."""
    print(
        f"\nlocal network, ms without a leader: mean, median, p95, max (latency {LOCAL_LATENCY}, disk {LOCAL_DISK})"
    )
    print(
        "  timeouts     published (LogCabin)            without PreVote                 with PreVote, as qcore does"
    )
    for timeouts, published in LOCAL.items():
        parts = [_row(published)]
        for pre_vote in (False, True):
            found = _local(timeouts, trials, pre_vote=pre_vote)
            parts.append(_row((found.mean_ms, found.p50_ms, found.p95_ms, found.max_ms)))
        print(f"  {timeouts[0]:3}-{timeouts[1]:3}  " + "  ".join(parts))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000, help="trials of the wide area")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each partial partition")
    parser.add_argument("--only", help="one of splits, wide, local, partitions, replaced")
    arguments = parser.parse_args()
    tables: dict[str, Callable[[], None]] = {
        "splits": lambda: split_votes(max(1, arguments.trials // 10)),
        "wide": lambda: wide_area(arguments.trials),
        "local": lambda: local_network(max(1, arguments.trials // 100)),
        "partitions": lambda: partial_partitions.print_table(arguments.seeds),
        "replaced": replaced_servers.print_table,
    }
    for name, print_it in tables.items():
        if arguments.only in (None, name):
            print_it()


if __name__ == "__main__":
    main()
