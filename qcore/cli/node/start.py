"""`qcore node start`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from qcore.cli.node.config_file import read_config_file
from qcore.cli.node.recover import recover
from qcore.cli.node.setting_options import (
    NODE_SETTINGS,
    SettingsCommand,
    given_names,
    is_overridden,
    with_names,
    with_options,
)
from qcore.cli.options import OutputFormat, OutputOption, non_empty_path
from qcore.cli.output import show

#: How often the command looks for the key of a node that is just starting, seconds.
_KEY_POLL_S: Final = 0.05

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Run a node, and recover nodes whose cluster is lost.",
)


app.command()(recover)


@app.command()
def key(
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir",
            envvar="QCORE_DATA_DIR",
            parser=non_empty_path,
            metavar="PATH",
            help="Data directory of the node.",
        ),
    ],
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            min=0,
            metavar="SECONDS",
            help="How long to wait for the key of a node that is just starting.",
        ),
    ] = 5.0,
    create: Annotated[
        bool,
        typer.Option("--create", help="Make the key of a node that has not started yet."),
    ] = False,
    output: OutputOption = OutputFormat.table,
) -> None:
    """Print the public key of a node, for `qcore cluster init`, `qcore member add` and `qcore snapshot restore`.

    The node gets its key when it starts for the first time, or by --create. Its secret part never
    leaves the data directory.
    """
    from qcore.errors import ConfigError
    from qcore.node.peers.node_key_file import create_key, load_key

    if create:
        made = create_key(data_dir, os.urandom)
        show(output, {"public_key": made.public}, text=made.public)
        return
    deadline = time.monotonic() + wait
    while (found := load_key(data_dir)) is None and time.monotonic() < deadline:
        time.sleep(_KEY_POLL_S)
    if found is None:
        raise ConfigError(
            f"--data-dir {data_dir}: no node has a key there; a node gets its key when it starts for the first time"
        )
    show(output, {"public_key": found.public}, text=found.public)


def _use_file(ctx: typer.Context, config: Path | None) -> Path | None:
    """Take the values of the file as the defaults of the other options."""
    if config is not None and not ctx.resilient_parsing:
        ctx.default_map = read_config_file(config, NODE_SETTINGS)
    return config


def _check_variables(names: Mapping[str, str], *, has_certificate: bool) -> None:
    """Explain variables for TLS that the shell has for commands, and that are not enough for a node.

    They are never ignored: a node must not start without TLS because one of its variables is missing.
    """
    from qcore.errors import ConfigError

    found = [names[each] for each in ("tls_ca", "tls_key") if names[each].startswith("QCORE_")]
    if found and not has_certificate:
        raise ConfigError(
            f"{' and '.join(found)} of the environment, without --tls-cert: give the certificate of the node, too; or, "
            f"if they are for other commands, start the node with `env -u {' -u '.join(found)} qcore node start ...`"
        )


@app.command(cls=SettingsCommand)
@with_options(NODE_SETTINGS)
def start(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="QCORE_CONFIG",
            parser=non_empty_path,
            metavar="PATH",
            is_eager=True,
            callback=_use_file,
            help="TOML file with settings, such as heartbeat_ms = 100. A variable overrides it, and an option "
            "overrides both.",
        ),
    ] = None,
    **values: object,
) -> None:
    """Run a node until SIGTERM or SIGINT.

    A new node waits until it is initialised (`qcore cluster init`) or added to a cluster (`qcore
    member add`). A member of a cluster resumes from its data directory.

    A signal stops the node cleanly. A second one ends the process immediately. SIGHUP opens the
    files of log, audit log and trace again, and reads certificates and log_level again.
    """
    from qcore.node.config import NodeConfig
    from qcore.node.main import run_node
    from qcore.settings import for_node

    names = given_names(ctx, NODE_SETTINGS, str(config))
    _check_variables(names, has_certificate=values["tls_cert"] is not None)
    node = with_names(lambda: for_node(NodeConfig, values), names)

    def listening(address: str) -> None:
        print(f"qcore node {node.node_id} listens on {address}", flush=True)

    def read_settings() -> dict[str, object]:
        if config is None:
            return {}
        found = read_config_file(config, NODE_SETTINGS)
        return {name: found[name] for name in found if not is_overridden(ctx, name)}

    raise typer.Exit(run_node(node, on_listening=listening, read_settings=read_settings))
