"""TLS contexts from PEM files. Changed files are read again, so a certificate is renewed without a restart.

A change counts for the connections that are opened after it. If the new files cannot be used, the old ones stay, and a
log line says why. They stay, too, if the new certificate does not count now, as long as the old one does.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from qcore.errors import ConfigError
from qcore.security.certificate_validity import certificate_problem, kept_back, name_problem

logger = logging.getLogger("qcore.transport")

#: What identifies the content of a file: time of the last change, size, and number of the file.
_Stamp = tuple[int, int, int]
_MISSING: Final[_Stamp] = (0, 0, 0)


@dataclass(slots=True, frozen=True)
class TlsFiles:
    """PEM files for TLS.

    Attributes:
        ca: the authorities whose certificates are accepted. None: those that the system trusts.
        cert: the certificate of this end, followed by those of the authorities between it and a root.
        key: its private key, not encrypted. None: `cert` holds it, too.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def stamps(self) -> tuple[_Stamp, ...]:
        """A value that changes when a file does."""
        return tuple(_stamp(path) for each in fields(self) if (path := getattr(self, each.name)))

    def certificate(self) -> bytes:
        """The content of the file with the certificate; empty if there is none, or it cannot be read."""
        try:
            return b"" if self.cert is None else self.cert.read_bytes()
        except OSError:
            return b""


class ReloadedContext(ssl.SSLContext):
    """A context that takes its settings from files, and follows their changes.

    Each connection gets the newest context: an event loop calls `wrap_bio` once for each.

    Raises:
        ConfigError: the files cannot be used; the text names the file.
    """

    _files: TlsFiles
    _make: Callable[[TlsFiles], ssl.SSLContext]
    _current: ssl.SSLContext
    _stamps: tuple[_Stamp, ...]
    #: At which others reach this end; empty if it is not known, or nothing connects to it.
    _host: str
    #: The file with the certificate that is in use.
    _certificate: bytes
    #: When a certificate that is not used yet is to be looked at again.
    _look_again: datetime | None

    @classmethod
    def of(
        cls, files: TlsFiles, make: Callable[[TlsFiles], ssl.SSLContext], host: str = ""
    ) -> Self:
        """A context whose connections use what `make` builds from the files. `host`: see `server_context`."""
        self = cls(ssl.PROTOCOL_TLS_CLIENT)  # of no meaning: it makes no connection itself
        self._files, self._make, self._host = files, make, host
        self._stamps, self._certificate = files.stamps(), files.certificate()
        self._current, self._look_again = make(files), None
        return self

    @property
    def current(self) -> ssl.SSLContext:
        """The context of the files as they are now."""
        stamps = self._files.stamps()
        due = self._look_again is not None and datetime.now(UTC) > self._look_again
        if stamps != self._stamps or due:
            self._stamps = stamps  # also after a failure: one line a change
            self._look_again = None
            self._follow()
        return self._current

    def _follow(self) -> None:
        """Use the files as they are now, if they can be used."""
        files, certificate = self._files, self._files.certificate()
        try:
            made = self._make(files)
        except ConfigError as error:
            logger.error("the files for TLS have changed and cannot be used: %s", error)
            return
        if kept := kept_back(self._certificate, certificate, datetime.now(UTC)):
            self._look_again = kept.until
            logger.error(
                "the files for TLS have changed, but %s: put a valid certificate into %s",
                kept.why,
                files.cert,
            )
            return
        self._current, self._certificate = made, certificate
        if problem := certificate_problem(certificate):
            logger.error(
                "the files for TLS have changed, and new connections use them, but the certificate %s: put "
                "a valid one into %s",
                problem,
                files.cert,
            )
        elif self._host and (problem := name_problem(certificate, self._host)):
            logger.warning(
                "the files for TLS have changed, and new connections use them, but the certificate %s, the advertised "
                "address: put one with this name into %s, or no other node and no client can connect",
                problem,
                files.cert,
            )
        else:
            logger.info("the files for TLS have changed: new connections use them")

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`."""
        return self.current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def server_context(
    files: TlsFiles, *, clients_need_certificates: bool = False, host: str = ""
) -> ReloadedContext:
    """The context of a server. With `files.ca`, it verifies the certificates that the other ends present.

    Args:
        files: with `cert`.
        clients_need_certificates: whether every other end must present one.
        host: at which others reach this end, if it is known: a new certificate without it gives a warning.

    Raises:
        ConfigError: the files cannot be used; the text names the file.
    """

    def make(files: TlsFiles) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # A renegotiation would let a client make the server compute without end.
        context.options |= ssl.OP_NO_RENEGOTIATION
        _configure(context, files)
        if files.ca is not None:
            _load_authorities(context, files.ca)
            context.verify_mode = (
                ssl.CERT_REQUIRED if clients_need_certificates else ssl.CERT_OPTIONAL
            )
        return context

    return ReloadedContext.of(files, make, host)


def client_context(files: TlsFiles) -> ReloadedContext:
    """The context of an end that opens connections. It verifies the certificate and the host name of the other end.

    Raises:
        ConfigError: the files cannot be used; the text names the file.
    """

    def make(files: TlsFiles) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _configure(context, files)
        if files.ca is None:
            context.load_default_certs()
        else:
            _load_authorities(context, files.ca)
        return context

    return ReloadedContext.of(files, make)


def _configure(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.cert is None:
        return
    key = files.key or files.cert
    _require_readable(files.cert, "certificate")
    _require_readable(key, "private key")

    def no_password() -> str:
        # Without this function the library would ask for a password on the terminal.
        raise ConfigError(f"{key}: the private key is encrypted: give a file without a password")

    try:
        context.load_cert_chain(files.cert, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"{key} is not the private key of the certificate in {files.cert}: give the files that belong together"
            ) from None
        raise ConfigError(
            f"{files.cert} and {key} hold no certificate and private key in PEM ({_reason(error)}): give such files"
        ) from None


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    _require_readable(path, "certificates of authorities")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{path} holds no certificates in PEM ({_reason(error)}): give the file of the authorities"
        ) from None


def _require_readable(path: Path, what: str) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the {what}: {error.strerror}") from None


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or error.strerror or "unknown").replace("_", " ").lower()


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return _MISSING
    return found.st_mtime_ns, found.st_size, found.st_ino


#: The codes of X.509 (OpenSSL's x509_vfy.h): another host, another IP address; expired, not valid yet.
_OTHER_NAME: Final = (62, 64)
_OTHER_TIME: Final = (9, 10)


def explain_tls_failure(address: str, error: ssl.SSLError) -> str:
    """Why the TLS handshake with this address failed, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        if error.verify_code in _OTHER_TIME:
            advice = "renew it at the node (its --tls-cert), or correct the clock of this machine"
        elif error.verify_code in _OTHER_NAME:
            advice = (
                "connect to a name that the certificate has, or give the node one with this name"
            )
        else:
            advice = "give the authorities that signed it (--tls-ca)"
        return f"the certificate of {address} is not accepted: {why}: {advice}"
    reason = error.reason or ""
    if reason in (
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "RECORD_LAYER_FAILURE",
    ):
        return (
            f"{address} does not use TLS: start the node with --tls-cert, or connect without TLS (without --tls and "
            "--tls-ca, and their variables)"
        )
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return f"{address} demands a certificate of this end: give one (--tls-cert, --tls-key)"
    if reason.endswith("CERTIFICATE_EXPIRED"):
        return f"{address} does not accept the certificate of this end, because it has expired: renew it (--tls-cert)"
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return (
            f"{address} does not accept the certificate of this end ({_reason(error)}): give one that its authorities "
            "signed (--tls-cert, --tls-key)"
        )
    return f"TLS with {address} failed: {_reason(error)}"
