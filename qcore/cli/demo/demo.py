"""`qcore demo`: runs the same Raft core in the simulator, and as a real cluster whose leader is killed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import non_empty_path
from qcore.errors import ConfigError
from qcore.release import shipped_folder

app = typer.Typer(rich_markup_mode=None)

_SCENARIO = "leader_isolated"


@app.command()
def demo(
    seed: Annotated[
        int, typer.Option("--seed", envvar="QCORE_SEED", help="Seed of the simulation.")
    ] = 7,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            envvar="QCORE_OUT",
            parser=non_empty_path,
            metavar="PATH",
            help="The directory for the picture and the trace.",
        ),
    ] = Path("out"),
    topology: Annotated[
        Path | None,
        typer.Option(
            "--topology",
            "--config-file",
            envvar=["QCORE_TOPOLOGY", "QCORE_CONFIG_FILE"],
            parser=non_empty_path,
            metavar="PATH",
            help="Topology file of the real cluster. Default: the shipped topology.yaml.",
        ),
    ] = None,
) -> None:
    """Show how a simulated and a real cluster survive the loss of their leader.

    Takes about ten seconds.
    """
    topology = topology or shipped_folder("examples") / "topology.yaml"
    if not topology.exists():
        raise ConfigError(
            f"--topology: {topology} does not exist; name another file, or leave the option out"
        )
    ok = run_simulation(seed, out)
    print()
    ok = run_real_cluster(topology) and ok
    print()
    print("Everything held." if ok else "Something did NOT hold; see above.")
    if not ok:
        raise typer.Exit(ExitCode.FAILED)


# --- part 1 ---------------------------------------------------------------------------------------


def run_simulation(seed: int, out: Path) -> bool:
    """Run the scenario, print its verdict and draw the run. Return whether the verdict is PASS."""
    from qcore.analysis.figure import save_run_figure
    from qcore.sim.run import run_scenario
    from qcore.sim.scenario.load import load_scenario

    scenario = load_scenario(_SCENARIO)
    print(f"1. In the simulator: scenario {scenario.name}, seed {seed}")
    print(f"   {scenario.summary}")
    out.mkdir(parents=True, exist_ok=True)
    trace = out / f"{_SCENARIO}.jsonl"
    began = time.perf_counter()
    result = run_scenario(scenario, seed, trace=trace)
    took = time.perf_counter() - began
    print(f"   {scenario.until_ms / 1000:g} simulated seconds took {took:.1f} s")
    for expectation in result.expectations:
        mark = "ok  " if expectation.ok else "FAIL"
        print(f"   {mark} {expectation.name.replace('_', ' ')}: {expectation.seen}")
    for violation in result.violations:
        print(f"   VIOLATION {violation.check}: {violation.note}")
    print(
        f"   verdict {'PASS' if result.ok else 'FAIL'}; the same on every machine: {result.replay}"
    )
    print(f"   trace SHA-256 {result.trace_sha256}")
    picture = save_run_figure(trace, out / f"{_SCENARIO}.png")
    print(f"   a picture of the leaders over time: {picture}")
    return result.ok


# --- part 2 ---------------------------------------------------------------------------------------


def run_real_cluster(topology: Path) -> bool:
    """Kill -9 the leader of a real cluster while clients write. Return whether no acknowledged write is lost."""
    from qcore.cli.demo.demo_load import Writers, count_present
    from qcore.processes import ProcessCluster

    print("2. For real: three processes, connected by WebSocket, each with a log in SQLite")
    arguments = ["--topology", str(topology.absolute())]
    with (
        tempfile.TemporaryDirectory(prefix="qcore-demo-") as directory,
        ProcessCluster(Path(directory), size=3, arguments=arguments) as cluster,
    ):
        cluster.start()
        print(f"   nodes 1, 2 and 3 listen on {', '.join(cluster.endpoints)}")
        cluster_id = initialise(cluster.endpoints, cluster.members)
        leader = cluster.wait_leader()
        print(f"   cluster {cluster_id} has begun, node {leader.node_id} leads")
        print(
            f"   {topology.name} is loaded through the log: state {cluster.wait_converged()[:12]} everywhere"
        )
        with Writers(cluster.endpoints) as writers:
            writers.wait_for(300)
            print(f"   8 clients write; {writers.acknowledged} writes are acknowledged")
            leader = cluster.wait_leader()
            leader.kill()
            killed = time.monotonic()
            print(f"   kill -9 the leader, node {leader.node_id}, while the clients write")
            writers.wait_for(1)
            print(
                f"   the next write is acknowledged {1000 * (time.monotonic() - killed):.0f} ms later"
            )
            writers.wait_for(300)
            successor = cluster.wait_leader()
            print(f"   node {successor.node_id} leads now; {writers.acknowledged} are acknowledged")
            leader.start()
            print(f"   node {leader.node_id} restarts from its disk")
            writers.wait_for(300)
        digest = cluster.wait_converged()
        total = writers.acknowledged
        print(f"   {total} writes acknowledged, {writers.unknown} reported as unknown outcome")
        ok = True
        for node in cluster.nodes.values():
            status = node.status()
            print(
                f"   node {node.node_id}: {status['state']:8} term {status['current_term']}, "
                f"applied {status['qcore']['applied_index']}, state {status['qcore']['state_hash'][:12]}"
            )
            ok = ok and status["qcore"]["state_hash"] == digest
        present = count_present(cluster.endpoints, writers.created)
        print(f"   read back: {present} of {total} acknowledged writes are present")
        return ok and present == total


def initialise(endpoints: Sequence[str], members: Sequence[tuple[int, str]]) -> str:
    """Initialise the cluster and return its id."""
    import asyncio

    from qcore.client.client import Client

    async def work() -> str:
        async with Client(endpoints) as client:
            await client.init(members)
            metrics = await client.get_metrics()
            return str(metrics["qcore"]["cluster_id"])

    return asyncio.run(work())
