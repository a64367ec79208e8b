"""`qcore sim elections`: how long a cluster is without a leader, measured over many elections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.options import JobsOption, OutputFormat, OutputOption
from qcore.cli.output import show
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.sim.elections.election_figures import ElectionFigures


def elections(
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", help="Voters of the cluster.")] = 5,
    failed: Annotated[
        int,
        typer.Option(
            "--failed",
            metavar="F",
            help="How many of them are down during the election. With --crash-leader the leader is one of them, so 0 "
            "means 1.",
        ),
    ] = 0,
    latency: Annotated[
        str,
        typer.Option(
            "--latency",
            metavar="FORM",
            help="How long each message takes in one direction, in milliseconds: constant:A, uniform:A:B, "
            "normal:MEAN:DEVIATION, lognormal:MEDIAN:SIGMA, exponential:MEAN, pareto:MIN:ALPHA or samples:A:B:C.",
        ),
    ] = "uniform:1:5",
    timeout: Annotated[
        str,
        typer.Option(
            "--timeout",
            metavar="MIN:MAX",
            help="The range of the election timeouts, in whole milliseconds.",
        ),
    ] = "150:300",
    trials: Annotated[
        int, typer.Option("--trials", metavar="T", help="How many elections to run.")
    ] = 1000,
    seed: Annotated[
        int,
        typer.Option("--seed", envvar="QCORE_SEED", help="Decides every random choice of the run."),
    ] = 1,
    fresh_timers: Annotated[
        bool,
        typer.Option(
            "--fresh-timers",
            help="Measure as AvailSim does: all election timers start at time 0, no server knows a leader, and "
            "servers ask for no pre-votes unless --pre-vote is given.",
        ),
    ] = False,
    crash_leader: Annotated[
        bool,
        typer.Option(
            "--crash-leader",
            help="Begin with a leader that crashes at a random moment between two heartbeats. Without it, all "
            "election timers start at time 0.",
        ),
    ] = False,
    heartbeat: Annotated[
        float | None,
        typer.Option(
            "--heartbeat",
            metavar="H",
            help="With --crash-leader: the interval of its heartbeats in milliseconds. Default: half the shortest "
            "election timeout.",
        ),
    ] = None,
    ineligible: Annotated[
        int,
        typer.Option(
            "--ineligible",
            metavar="K",
            help="How many available servers lack a committed entry and cannot win.",
        ),
    ] = 0,
    pre_vote: Annotated[
        bool | None,
        typer.Option(
            "--pre-vote/--no-pre-vote",
            help="Ask for pre-votes before raising the term. Default: yes, and no with --fresh-timers.",
            show_default=False,
        ),
    ] = None,
    check_quorum: Annotated[
        bool | None,
        typer.Option(
            "--check-quorum/--no-check-quorum",
            help="Servers in contact with a leader reject votes. Default: as --pre-vote.",
            show_default=False,
        ),
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(
            "--disk",
            metavar="FORM",
            help="How long a write takes to become durable, in the forms of --latency. Default: no time.",
        ),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(
            "--limit-ms",
            metavar="MS",
            help="Censor a trial that has no leader after so many milliseconds. Default: 100 times the longest "
            "election timeout.",
        ),
    ] = None,
    jobs: JobsOption = None,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Measure how long a cluster is without a leader, over many elections of the real core.

    Messages, timers and the core are simulated, and nothing else: no clients, no state machine, no disk unless --disk
    is given. The vote of a trial is split if at least two servers asked for votes in the first term in which any
    server did, and none of them became leader in that term. A trial without a leader at the limit is censored: it
    counts as longer than all others in the percentiles, and does not count in mean and maximum.
    Exit code 0: measured; 2: a value is out of range, or no leader could be elected.
    """
    # A late import: `--help` must not load pydantic and the core.
    from qcore.sim.elections.measure import election_setup, measure_setup

    setup = election_setup(
        nodes=nodes,
        failed=failed,
        latency=latency,
        timeout_ms=_range(timeout),
        fresh_timers=fresh_timers,
        crash_leader=crash_leader,
        heartbeat_ms=heartbeat,
        ineligible=ineligible,
        pre_vote=pre_vote,
        check_quorum=check_quorum,
        disk=disk,
        limit_ms=limit,
    )
    figures = measure_setup(setup, trials=trials, seed=seed, jobs=jobs)
    asked = {**setup.to_json(), "latency": latency, "disk": disk, "seed": seed}
    body = {**figures.to_json(), **asked}
    show(output, body, text=_text(figures, asked), indent=2)


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    try:
        return int(low), int(high)
    except ValueError:
        raise ConfigError(
            f"--timeout {text!r:.40}: write the shortest and the longest election timeout in whole milliseconds, as "
            "150:300"
        ) from None


def _text(figures: ElectionFigures, asked: Mapping[str, object]) -> str:
    """What people read: the cluster, the times, and what else was counted."""

    def ms(value: float | None) -> str:
        return f"> {figures.limit_ms:g}" if value is None else f"{value:.1f}"

    times = {
        "mean": figures.mean_ms,
        "p50": figures.p50_ms,
        "p90": figures.p90_ms,
        "p95": figures.p95_ms,
        "p99": figures.p99_ms,
        "p99.9": figures.p999_ms,
        "max": figures.max_ms,
    }
    cells = [(name, ms(value)) for name, value in times.items()]
    widths = [max(map(len, cell)) for cell in cells]

    def line(place: int) -> str:
        return "  ".join(
            cell[place].rjust(width) for cell, width in zip(cells, widths, strict=True)
        )

    rules = ", ".join(
        f"{'with' if asked[key] else 'without'} {name}"
        for key, name in (("pre_vote", "PreVote"), ("check_quorum", "CheckQuorum"))
    )
    start = (
        f"the leader crashed, heartbeats every {asked['heartbeat_ms']:g} ms"
        if asked["crash_leader"]
        else "all timers fresh at 0"
    )
    behind = f", {asked['ineligible']} of the others cannot win" if asked["ineligible"] else ""
    per_election = figures.messages_per_election
    lines = [
        f"{asked['nodes']} nodes, {asked['failed']} failed{behind}; {start}; {rules}",
        f"timeout {asked['timeout_min_ms']} to {asked['timeout_max_ms']} ms, latency {asked['latency']} ms"
        + (f", disk {asked['disk']} ms" if asked["disk"] else ""),
        "",
        f"time without a leader, ms, over {figures.trials} trials",
        line(0),
        line(1),
        "",
        f"split votes            {100 * figures.split_vote_rate:.2f} % of the trials: two servers or more asked for "
        "votes in the first term, and none of them won it",
        f"messages per election  {'-' if per_election is None else f'{per_election:.1f}'}",
        f"terms until a leader   {'-' if figures.mean_terms is None else f'{figures.mean_terms:.3f}'}",
        f"censored               {figures.censored} trials without a leader after {figures.limit_ms:g} ms",
    ]
    return "\n".join(lines)
