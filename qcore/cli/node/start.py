"""`qcore node start`."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcore.cli.node.limit_options import LimitsSection, node_limits, with_limits, with_option_names
from qcore.cli.options import DEFAULT_ENDPOINT, non_empty_path
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.node.application import Application
    from qcore.transport.address import Address

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Run a node.")


class LogFormatChoice(StrEnum):
    """The format of log lines."""

    text = "text"
    json = "json"


class LogLevelChoice(StrEnum):
    """The lowest level that is logged."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class StorageChoice(StrEnum):
    """The kind of durable log."""

    sqlite = "sqlite"


@app.callback()
def _group() -> None:
    """Run a node."""


@app.command(cls=LimitsSection)
@with_limits
def start(
    node_id: Annotated[
        int, typer.Option("--id", envvar="QCORE_ID", min=1, help="This node's id in the cluster.")
    ],
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir",
            envvar="QCORE_DATA_DIR",
            parser=non_empty_path,
            metavar="PATH",
            help="Data directory; created if it does not exist.",
        ),
    ],
    ws_addr: Annotated[
        str,
        typer.Option(
            "--ws-addr",
            envvar="QCORE_WS_ADDR",
            help="host:port to listen on. Port 0 picks a free port.",
        ),
    ] = DEFAULT_ENDPOINT,
    advertise_addr: Annotated[
        str | None,
        typer.Option(
            "--advertise-addr",
            envvar="QCORE_ADVERTISE_ADDR",
            help="host:port at which others reach this node. Default: the address on which it listens.",
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config-file",
            envvar="QCORE_CONFIG_FILE",
            parser=non_empty_path,
            metavar="PATH",
            help="Topology file, loaded once when the cluster is initialised.",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            envvar="QCORE_TRACE",
            parser=non_empty_path,
            metavar="FILE",
            help="Write the trace of this node to FILE.",
        ),
    ] = None,
    log_format: Annotated[
        LogFormatChoice,
        typer.Option("--log-format", envvar="QCORE_LOG_FORMAT", help="Format of log lines."),
    ] = LogFormatChoice.text,
    log_level: Annotated[
        LogLevelChoice,
        typer.Option("--log-level", envvar="QCORE_LOG_LEVEL", help="Lowest level that is logged."),
    ] = LogLevelChoice.info,
    heartbeat_ms: Annotated[
        int,
        typer.Option(
            "--heartbeat-ms",
            envvar="QCORE_HEARTBEAT_MS",
            min=1,
            help="Interval between the leader's heartbeats.",
        ),
    ] = 100,
    election_timeout_min_ms: Annotated[
        int,
        typer.Option(
            "--election-timeout-min-ms",
            envvar="QCORE_ELECTION_TIMEOUT_MIN_MS",
            min=1,
            help="Shortest election timeout.",
        ),
    ] = 500,
    election_timeout_max_ms: Annotated[
        int,
        typer.Option(
            "--election-timeout-max-ms",
            envvar="QCORE_ELECTION_TIMEOUT_MAX_MS",
            min=1,
            help="Longest election timeout.",
        ),
    ] = 1000,
    snapshot_entries: Annotated[
        int,
        typer.Option(
            "--snapshot-entries",
            envvar="QCORE_SNAPSHOT_ENTRIES",
            min=0,
            help="Take a snapshot after this many entries; 0 disables this trigger.",
        ),
    ] = 50_000,
    snapshot_bytes: Annotated[
        int,
        typer.Option(
            "--snapshot-bytes",
            envvar="QCORE_SNAPSHOT_BYTES",
            min=0,
            help="Take a snapshot after this many bytes of entries, but at least half the size of the last snapshot; 0 "
            "disables this trigger.",
        ),
    ] = 64 * 1024 * 1024,
    keep_entries: Annotated[
        int,
        typer.Option(
            "--keep-entries",
            envvar="QCORE_KEEP_ENTRIES",
            min=0,
            help="Entries covered by a snapshot that stay in the log for slow followers.",
        ),
    ] = 5_000,
    keep_bytes: Annotated[
        int,
        typer.Option(
            "--keep-bytes",
            envvar="QCORE_KEEP_BYTES",
            min=0,
            help="Maximum size of these entries, in bytes.",
        ),
    ] = 64 * 1024 * 1024,
    priority: Annotated[
        int,
        typer.Option(
            "--priority",
            envvar="QCORE_PRIORITY",
            min=0,
            help="A node of higher priority takes over the leadership. A node of priority 0 never leads.",
        ),
    ] = 1,
    lease_reads: Annotated[
        bool,
        typer.Option(
            "--lease-reads/--no-lease-reads",
            envvar="QCORE_LEASE_READS",
            help="Allow lease reads. Set this to the same value on all nodes.",
        ),
    ] = False,
    max_rules: Annotated[
        int | None,
        typer.Option(
            "--max-rules",
            envvar="QCORE_MAX_RULES",
            min=1,
            help="Newest apply rules that this node supports. A lower number allows a return to an older qcore.",
        ),
    ] = None,
    max_wall_skew_ms: Annotated[
        int,
        typer.Option(
            "--max-wall-skew-ms",
            envvar="QCORE_MAX_WALL_SKEW_MS",
            min=1,
            help="Maximum difference between a time stamp and a quorum's wall clocks.",
        ),
    ] = 1000,
    machine: Annotated[
        str,
        typer.Option(
            "--machine",
            envvar="QCORE_MACHINE",
            help="The state machine: entity, kv, or a custom one as FILE.py:CLASS or MODULE:CLASS.",
        ),
    ] = "entity",
    storage: Annotated[
        StorageChoice,
        typer.Option("--storage", envvar="QCORE_STORAGE", help="Kind of durable log."),
    ] = StorageChoice.sqlite,
    uvloop: Annotated[
        bool | None,
        typer.Option(
            "--uvloop/--no-uvloop",
            envvar="QCORE_UVLOOP",
            help="Use uvloop as the event loop. Default: if it is installed.",
        ),
    ] = None,
    **limits: int | float,
) -> None:
    """Run a node until SIGTERM, SIGINT or SIGHUP.

    A new node waits until it is initialised (`qcore cluster init`) or added to a cluster (`qcore
    member add`). A member of a cluster resumes from its data directory.

    A signal stops the node cleanly. A second SIGTERM or SIGINT ends the process immediately.
    """
    from qcore.core.version import LATEST_RULES
    from qcore.node.config import NodeConfig
    from qcore.node.main import run_node
    from qcore.transport.address import Address

    del storage  # there is only one kind; the option reserves the name for scripts
    make = partial(
        NodeConfig,
        node_id=node_id,
        ws_addr=Address.parse(ws_addr, "--ws-addr", allow_port_zero=True),
        data_dir=data_dir,
        config_file=config_file,
        trace_file=trace,
        log_format=log_format.value,
        log_level=log_level.value,
        heartbeat_ms=heartbeat_ms,
        election_timeout_min_ms=election_timeout_min_ms,
        election_timeout_max_ms=election_timeout_max_ms,
        use_uvloop=uvloop,
        snapshot_entries=snapshot_entries,
        snapshot_bytes=snapshot_bytes,
        keep_entries=keep_entries,
        keep_bytes=keep_bytes,
        priority=priority,
        lease_reads=lease_reads,
        max_rules=LATEST_RULES if max_rules is None else max_rules,
        max_wall_skew_ms=max_wall_skew_ms,
        advertise_addr=_advertised(advertise_addr),
        **node_limits(limits),
    )
    config = with_option_names(make)

    def listening(address: str) -> None:
        print(f"qcore node {node_id} listens on {address}", flush=True)

    raise typer.Exit(run_node(config, _application(machine), on_listening=listening))


def _advertised(text: str | None) -> Address | None:
    from qcore.transport.address import Address

    return None if text is None else Address.parse(text, "--advertise-addr", allow_port_zero=True)


def _application(machine: str) -> Application:
    """The application that serves this state machine.

    Raises:
        ConfigError: the name is unknown, or the file, module or class does not exist.
    """
    from qcore.node.application import EntityApplication, TextApplication

    if machine == "entity":
        return EntityApplication()
    if machine == "kv":
        from qcore.machines.register import KeyValueMachine

        return TextApplication(KeyValueMachine())
    if ":" not in machine:
        raise ConfigError(f"--machine {machine}: choose entity, kv, or FILE.py:CLASS")
    from qcore.machines.loader import load_machine

    return TextApplication(load_machine(machine, Path())())
