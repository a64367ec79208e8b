"""`TlsConfig`: the settings of a node about TLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from qcore.errors import ConfigError
from qcore.security.secret_files import EVERY_USER, exposure
from qcore.security.tls import ReloadedContext, TlsFiles, client_context, server_context
from qcore.settings import setting
from qcore.transport.address import Address


@dataclass(slots=True, frozen=True)
class TlsConfig:
    """Settings about TLS. The text beside each field gives its meaning.

    Raises:
        ConfigError: a file is missing without which another has no use.
    """

    tls_cert: Path | None = field(
        default=None,
        metadata=setting(
            "PEM file with the certificate of this node, and those of the authorities between it and a root. With it, "
            "the node uses only TLS, with clients and peers. A changed file is used for new connections."
        ),
    )
    tls_key: Path | None = field(
        default=None,
        metadata=setting(
            "PEM file with the private key of this certificate, not encrypted. Default: `tls_cert` holds it, too."
        ),
    )
    tls_ca: Path | None = field(
        default=None,
        metadata=setting(
            "PEM file with the authorities of the cluster's certificates. With it, the node accepts a peer only with a "
            "certificate that they signed. Without it, the node accepts the servers that the system's authorities "
            "vouch for, and asks peers for no certificate."
        ),
    )
    tls_client_certs: bool = field(
        default=False,
        metadata=setting(
            "Accept a client, too, only with a certificate that the authorities in `tls_ca` signed."
        ),
    )
    insecure: bool = field(
        default=False,
        metadata=setting(
            "Do not warn at the start that the node listens on more than loopback addresses without TLS."
        ),
    )

    def __post_init__(self) -> None:
        if self.tls_cert is None:
            for name in ("tls_key", "tls_ca"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"{name} is given without tls_cert: give the certificate of the node, too"
                    )
        if self.tls_client_certs and self.tls_ca is None:
            raise ConfigError("tls_client_certs needs tls_ca: give the authorities of the clients")

    def files(self) -> TlsFiles | None:
        """The files, with which this node may also connect as a client; None without TLS."""
        if self.tls_cert is None:
            return None
        return TlsFiles(self.tls_ca, self.tls_cert, self.tls_key)

    def contexts(
        self, advertised: Address | None = None
    ) -> tuple[ReloadedContext, ReloadedContext] | tuple[None, None]:
        """The contexts of the server and of the connections to peers; None without TLS.

        Args:
            advertised: the advertised address of this node, if it has one.

        Raises:
            ConfigError: a file cannot be used; the text names it.
        """
        files = self.files()
        if files is None:
            return None, None
        server = server_context(
            files,
            clients_need_certificates=self.tls_client_certs,
            host="" if advertised is None else advertised.host,
        )
        return server, client_context(files)

    def key_exposure(self) -> str | None:
        """The warning for a private key that every user of the computer can read; None if there is none."""
        key = self.tls_key or self.tls_cert
        try:
            return None if key is None else exposure(key, key.stat().st_mode, EVERY_USER)
        except OSError:
            return None  # `contexts` has reported it

    def warning(self, address: Address) -> str | None:
        """The warning for a node that listens on this address without TLS; None if only this machine reaches it."""
        if self.tls_cert is not None or self.insecure or address.is_loopback:
            return None
        return (
            "the node listens on more than loopback addresses without TLS: who can read or change the traffic can "
            "read and change the data; give --tls-cert, or --insecure to silence this line"
        )
