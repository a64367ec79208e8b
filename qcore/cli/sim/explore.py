"""`qcore sim explore`: every order of events of a small cluster of real cores, within bounds."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import Row, show
from qcore.compiled_build import BUILD, PURE_VARIABLE
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.sim.exploration import Counterexample

#: Where a counterexample is kept unless `--save` names a file.
_FOLDER = Path("out") / "explorations"


class StrategyName(StrEnum):
    """How the states are searched."""

    exhaustive = "exhaustive"
    pct = "pct"


class PresetName(StrEnum):
    """Bounds for a purpose."""

    election = "election"
    commit = "commit"
    replication = "replication"
    membership = "membership"
    snapshot = "snapshot"


def _bound(name: str, what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--{name}", min=0, max=99, help=f"{what} Default: by --preset."
    )
    return option


def explore(
    preset: Annotated[
        PresetName,
        typer.Option("--preset", help="Bounds for a purpose; other options change them."),
    ] = PresetName.election,
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", min=1, max=9, help="Voters of the cluster. Default: by --preset."),
    ] = None,
    timeouts: Annotated[int | None, _bound("timeouts", "Election timeouts that may fire.")] = None,
    heartbeats: Annotated[int | None, _bound("heartbeats", "Heartbeats of leaders.")] = None,
    crashes: Annotated[int | None, _bound("crashes", "Crashes, each with a restart.")] = None,
    writes: Annotated[int | None, _bound("writes", "Commands that clients propose.")] = None,
    reads: Annotated[int | None, _bound("reads", "Linearizable reads.")] = None,
    losses: Annotated[
        int | None,
        _bound("losses", "Losses. Any message may also remain in flight for ever."),
    ] = None,
    duplicates: Annotated[
        int | None, _bound("duplicates", "Messages that arrive and remain in flight.")
    ] = None,
    transfers: Annotated[int | None, _bound("transfers", "Leadership transfers.")] = None,
    changes: Annotated[int | None, _bound("changes", "Membership changes.")] = None,
    spares: Annotated[
        int | None, _bound("spares", "Nodes that are no members until a change adds them.")
    ] = None,
    snapshots: Annotated[int | None, _bound("snapshots", "Snapshots that nodes take.")] = None,
    sync: Annotated[
        str | None,
        typer.Option(
            "--sync",
            metavar="[instant|free]",
            help="When writes become durable: after each step, or at any time. Default: by --preset.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="[fresh|leader]",
            help="Begin without a leader, or with node 1 as leader. Default: by --preset.",
        ),
    ] = None,
    late_messages: Annotated[
        bool | None,
        typer.Option(
            "--late-messages/--no-late-messages",
            help="Whether messages of older terms may arrive. Default: by --preset.",
        ),
    ] = None,
    pre_vote: Annotated[
        bool | None,
        typer.Option("--pre-vote/--no-pre-vote", help="Ask for pre-votes. Default: no."),
    ] = None,
    check_quorum: Annotated[
        bool | None,
        typer.Option(
            "--check-quorum/--no-check-quorum",
            help="Reject votes while a leader is known. Default: no.",
        ),
    ] = None,
    without: Annotated[
        list[str],
        typer.Option(
            "--without",
            metavar="SAFEGUARD",
            help="Switch a safeguard of the core off. May be given several times.",
        ),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    strategy: Annotated[
        StrategyName,
        typer.Option("--strategy", help="Visit every state, nearest first; or make random runs."),
    ] = StrategyName.exhaustive,
    depth: Annotated[
        int | None,
        typer.Option(
            "--depth", min=1, help="Most steps from the first state. Default: no limit; 40 for pct."
        ),
    ] = None,
    max_states: Annotated[
        int, typer.Option("--max-states", min=1, help="Stop after this many distinct states.")
    ] = 1_000_000,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="Stop after this time.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", envvar="QCORE_SEED", help="Decides the runs of pct.")
    ] = 1,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Most runs of pct.")] = 10_000,
    priority_changes: Annotated[
        int,
        typer.Option(
            "--priority-changes", min=0, help="Changes of priority in a run of pct (its d - 1)."
        ),
    ] = 8,
    reduction: Annotated[
        bool,
        typer.Option(
            "--reduction/--no-reduction", help="Skip steps and states that others stand for."
        ),
    ] = True,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            parser=non_empty_path,
            metavar="PATH",
            help="Where to keep a counterexample. Default: a file in out/explorations.",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay",
            parser=non_empty_path,
            metavar="FILE",
            help="Take the steps of a kept counterexample again, and explore nothing.",
        ),
    ] = None,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Visit every state that a small cluster of real cores can reach, and check the properties of Raft in each.

    Messages arrive in any order or never, timeouts fire at any time, nodes crash at any time: as often as the bounds
    allow. A broken property is shown with the fewest steps that lead to it. Exit code 0: no property is broken;
    1: one is; 2: an option is wrong.
    """
    if BUILD == "compiled":
        _begin_again()
    if replay is not None:
        _replay(replay, output)
        return
    from qcore.sim.exploration import explore as run
    from qcore.sim.exploration.bounds import preset as bounds_of

    chosen: dict[str, int | str | bool | None] = {
        "nodes": nodes,
        "timeouts": timeouts,
        "heartbeats": heartbeats,
        "crashes": crashes,
        "writes": writes,
        "reads": reads,
        "losses": losses,
        "duplicates": duplicates,
        "transfers": transfers,
        "changes": changes,
        "spares": spares,
        "snapshots": snapshots,
        "sync": sync,
        "start": start,
        "late_messages": late_messages,
        "pre_vote": pre_vote,
        "check_quorum": check_quorum,
    }
    bounds = bounds_of(preset.value).with_changes(
        without=tuple(without),
        **{name: value for name, value in chosen.items() if value is not None},
    )
    found = run(
        bounds,
        strategy=strategy.value,
        depth=depth,
        max_states=max_states,
        seconds=seconds,
        seed=seed,
        changes_of_priority=priority_changes,
        runs=runs,
        reduction=reduction,
    )
    body = found.to_json()
    kept = None if found.counterexample is None else _keep(found.counterexample, preset, save)
    body["file"] = None if kept is None else str(kept)
    rows = [{key: body[key] for key in body if key not in ("counterexample", "bounds")}]
    show(output, body, rows=rows, text=found.text(), indent=2)
    if found.counterexample is not None and kept is not None:
        print(f"kept in {kept}; repeat: qcore sim explore --replay {kept}", file=sys.stderr)
        _export(found.counterexample, kept.with_suffix(".yaml"))
        raise typer.Exit(ExitCode.FAILED)


def _keep(found: Counterexample, preset: PresetName, save: Path | None) -> Path:
    faults = "".join(f"-{name}" for name in found.bounds.without)
    path = save or _FOLDER / f"{preset.value}-{found.broken.check}{faults}.json"
    found.save(path)
    return path


def _export(found: Counterexample, path: Path) -> None:
    """Keep the counterexample also as a scenario, if a timeline can express it."""
    from qcore.sim.exploration.scenario_export import scenario_text

    try:
        path.write_text(scenario_text(found, "explored"), encoding="utf-8")
    except ConfigError as error:
        print(f"no scenario was written: {error}", file=sys.stderr)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    else:
        print(f"as a scenario: qcore sim run {path}", file=sys.stderr)


def _begin_again() -> NoReturn:
    """Run this command as pure Python in place of this process: compiled cores cannot be copied."""
    os.execve(sys.executable, sys.orig_argv, {**os.environ, PURE_VARIABLE: "1"})


def _replay(file: Path, output: OutputFormat) -> None:
    from qcore.sim.exploration.counterexample import repeat

    found, same = repeat(file)
    body = found.to_json() | {"same": same}
    rows: list[Row] = [
        {"check": found.broken.check, "note": found.broken.note, "steps": len(found.steps)}
    ]
    show(output, body, rows=rows, text=found.text(), indent=2)
    if not same:
        raise ConfigError(f"{file}: another property is broken now: {found.broken.check}")
    raise typer.Exit(ExitCode.FAILED)
