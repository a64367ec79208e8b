"""`qcore doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qcore.cli.exits import ExitCode
from qcore.cli.options import (
    EndpointsOption,
    OutputFormat,
    OutputOption,
    TimeoutOption,
    non_empty_path,
    split_endpoints,
)
from qcore.cli.output import show

app = typer.Typer(rich_markup_mode=None)


@app.command()
def doctor(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="QCORE_CONFIG",
            parser=non_empty_path,
            metavar="PATH",
            help="TOML file with the settings of the node.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            envvar="QCORE_DATA_DIR",
            parser=non_empty_path,
            metavar="PATH",
            help="Data directory of the node. Its disk is measured with a file that has no name.",
        ),
    ] = None,
    endpoints: EndpointsOption = "",
    timeout: TimeoutOption = 5.0,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Find what is wrong with this computer and with running nodes, and say what to change.

    The settings come from --config and the variables of the environment, as for `qcore node start`. Run it as the
    user of the node. --endpoints also examines running nodes: versions and clocks.

    Exit code 0: no problem, possibly with warnings; 1: problems; 3: no node answered.
    """
    from qcore.cli.doctor.computer import open_files, port, versions, wall_clock
    from qcore.cli.doctor.configuration import Settings
    from qcore.cli.doctor.disk import disk_findings
    from qcore.cli.doctor.nodes import ask
    from qcore.cli.runner import run

    nodes = split_endpoints(endpoints) if endpoints else []
    settings = Settings(config, data_dir)
    node = settings.config
    findings = [versions(), *settings.findings]
    if settings.are_known:
        findings.append(port(node.ws_addr, settings.data_dir))
    findings += [open_files(node.limits), *wall_clock()]
    if settings.data_dir is not None:
        findings += disk_findings(
            settings.data_dir, node.raft.heartbeat_ms, node.min_free_disk_bytes
        )
    error = None
    if nodes:
        found, error = run(ask(nodes, timeout))
        findings += found
    rows = [each.row() for each in findings]
    is_well = all(each.verdict != "problem" for each in findings)
    show(output, {"ok": is_well, "findings": rows}, rows=rows)
    if error is not None:
        raise error
    if not is_well:
        raise typer.Exit(ExitCode.FAILED)
