"""Authorities and certificates for tests, in files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from qcore.security.tls import TlsFiles


class Authority:
    """An authority that writes certificates into a directory.

    Attributes:
        path: its own certificate.
    """

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._ca = trustme.CA()
        self._directory = directory
        self._name = name
        self.path = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.path)

    def issue(
        self,
        name: str,
        *hosts: str,
        expired: bool = False,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> TlsFiles:
        """Files `NAME.crt` and `NAME.key` with a certificate for hosts; 127.0.0.1 if none are given."""
        until = datetime.now(UTC) - timedelta(days=1) if expired else not_after
        issued = self._ca.issue_cert(
            *(hosts or ("127.0.0.1",)), not_before=not_before, not_after=until
        )
        cert, key = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return TlsFiles(self.path, cert, key)
