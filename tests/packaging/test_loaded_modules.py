"""Which third-party modules a process loads: only those of the part of qcore that it uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qcore.compiled_build import LIBRARY
from qcore.processes import ProcessCluster

#: The libraries of the simulator and of the analysis. The numeric ones come with matplotlib.
SIMULATION = {"simpy", "networkx", "matplotlib", "numpy", "qcore.sim", "qcore.analysis"}
#: What only a node that begins a cluster by itself needs.
DISCOVERY = {f"qcore.node.discovery.{name}" for name in ("auto_init", "finder", "mdns")} | {
    "zeroconf"
}
TEST_TOOLS = {"pytest", "hypothesis", "qcore.testing"}

#: Runs `qcore` and writes the names of the loaded modules to a file when the process ends.
_RUN_AND_REPORT = """
import atexit, sys
from pathlib import Path
report = Path(sys.argv.pop(1))
atexit.register(lambda: report.write_text("\\n".join(sys.modules)))
from qcore.cli.main import main
main()
"""


@pytest.mark.process
def test_a_node_loads_no_part_of_the_simulator(tmp_path: Path) -> None:
    """The node serves a cluster, a request and its pages, and stops cleanly."""
    report = tmp_path / "modules"
    with ProcessCluster(tmp_path, 1) as cluster:
        node = cluster.nodes[1]
        node.program = ("-c", _RUN_AND_REPORT, str(report))
        cluster.start()
        command = [sys.executable, "-m", "qcore", "cluster", "init", "--endpoints", node.address]
        subprocess.run(command, check=True, capture_output=True)
        cluster.wait_leader()
        for page in ("/status", "/metrics", "/readyz"):
            assert node.get(page)[0] == 200, page
        assert node.stop() == 0
    loaded = set(report.read_text().split())
    # The library for filters takes long to load. A node has it before its first filter, and nothing else needs it.
    assert {"websockets", "pydantic", "qcore.node.replica_node", "cel"} <= loaded
    assert not loaded & (SIMULATION | TEST_TOOLS | DISCOVERY)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_client_loads_no_node_and_no_simulator() -> None:
    loaded = loaded_by("from qcore import Client")
    assert {"websockets", "qcore.client.client"} <= loaded
    assert not loaded & (SIMULATION | TEST_TOOLS | {"yaml", "typer", "cel", "qcore.node"})


def test_the_core_loads_only_the_standard_library() -> None:
    loaded = {name.partition(".")[0] for name in loaded_by("import qcore.core")}
    assert loaded - {"qcore", LIBRARY, *sys.stdlib_module_names} <= {
        name.partition(".")[0] for name in loaded_by("pass")
    }


def test_the_simulator_loads_no_network_and_no_plots() -> None:
    loaded = loaded_by("from qcore import run_scenario")
    assert "qcore.sim.world.clock.engine" in loaded
    assert not loaded & (
        {"simpy", "matplotlib", "networkx", "websockets", "sqlite3", "cel", "qcore.node"}
        | TEST_TOOLS
    )
