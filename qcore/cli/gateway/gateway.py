"""`qcore gateway`: serves the API of another system in front of a cluster."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qcore.cli.clients.connection_options import credentials, tls_files
from qcore.cli.options import (
    DEFAULT_ENDPOINT,
    EndpointsOption,
    TimeoutOption,
    non_empty_path,
    split_endpoints,
)
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.security.tls import TlsFiles

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Serve the API of another system in front of a cluster.",
)

_DEFAULT_LISTEN: Final = "127.0.0.1:2379"
_EXTRA: Final = ("starlette", "uvicorn")


@app.callback()
def _root() -> None:
    """Keeps `etcd` a command below `gateway`."""


@app.command()
def etcd(
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDR", help="Address for clients: host:port.")
    ] = _DEFAULT_LISTEN,
    advertise: Annotated[
        list[str] | None,
        typer.Option(
            "--advertise",
            metavar="ADDR",
            help="Address at which clients reach this gateway. Repeat it, or use commas, for the other gateways; this "
            "one comes first. Default: --listen.",
        ),
    ] = None,
    endpoints: EndpointsOption = DEFAULT_ENDPOINT,
    timeout: TimeoutOption = 7.0,
    max_command_bytes: Annotated[
        int,
        typer.Option(
            "--max-command-bytes",
            envvar="QCORE_MAX_COMMAND_BYTES",
            min=1024,
            help="The --max-command-bytes of the nodes.",
        ),
    ] = 1 << 20,
    listen_tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--listen-tls-cert",
            parser=non_empty_path,
            metavar="PATH",
            help="Serve over TLS. PEM file with the certificate of this gateway.",
        ),
    ] = None,
    listen_tls_key: Annotated[
        Path | None,
        typer.Option(
            "--listen-tls-key",
            parser=non_empty_path,
            metavar="PATH",
            help="PEM file with its private key, if --listen-tls-cert has none.",
        ),
    ] = None,
    listen_tls_ca: Annotated[
        Path | None,
        typer.Option(
            "--listen-tls-ca",
            parser=non_empty_path,
            metavar="PATH",
            help="Demand a certificate of each client. PEM file with their authorities.",
        ),
    ] = None,
) -> None:
    """Serve the JSON gateway of etcd's v3 API until SIGTERM or SIGINT.

    The cluster runs the machine `kv`. A gateway stores nothing, so several can run. Requests with a
    token act as its user, and those without one as the user of this command.
    """
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'qcore-raft[gateway]'"
        )
    import asyncio

    from qcore.gateway.cluster_users import Connect
    from qcore.gateway.gateway_server import GatewayConfig, run_gateway
    from qcore.transport.address import Address

    own_tls = _listener_tls(listen_tls_cert, listen_tls_key, listen_tls_ca)
    named = [part.strip() for text in advertise or () for part in text.split(",") if part.strip()]
    config = GatewayConfig(
        Address.parse(listen, "--listen", allow_port_zero=True),
        named,
        Connect(split_endpoints(endpoints), timeout, tls_files(), credentials(), max_command_bytes),
        own_tls,
        listen_tls_ca is not None,
    )

    _write_log_lines()

    def listening(url: str) -> None:
        print(f"qcore gateway etcd listens on {url}", flush=True)

    asyncio.run(run_gateway(config, listening))


def _write_log_lines() -> None:
    """Let log lines go to stderr, in the form of those of nodes."""
    line = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    line.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(line)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _listener_tls(cert: Path | None, key: Path | None, ca: Path | None) -> TlsFiles | None:
    from qcore.security.tls import TlsFiles

    if cert is None:
        if key is not None or ca is not None:
            raise ConfigError(
                "--listen-tls-key or --listen-tls-ca is given without --listen-tls-cert: give the certificate, too"
            )
        return None
    return TlsFiles(ca, cert, key)
