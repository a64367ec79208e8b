"""`ProcessFigures`: what the system knows of the process and of its disk, for `/metrics`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric

from qcore.errors import ConfigError
from qcore.node.tls_config import TlsConfig
from qcore.security.certificate_validity import certificate_end

#: How old the figures may be, seconds. Prometheus usually reads them every 15 s.
_INTERVAL_S: Final = 5.0


class ProcessFigures:
    """Takes the figures in a thread, because a disk that hangs must not stop the event loop.

    The figures of the process have the names that Prometheus recommends for all programs, such as `process_open_fds`.

    Args:
        data_dir: the data directory.
        tls: the settings about TLS, whose files may change.
    """

    def __init__(self, data_dir: Path, tls: TlsConfig) -> None:
        self._data_dir = data_dir
        self._certificate = CertificateFigure(tls)
        # It registers nothing: the page of the node is not that of the program.
        self._process = ProcessCollector(registry=None)
        self._families: list[Metric] = []
        self._ended = threading.Event()

    def start(self) -> None:
        """Take the figures now, and then at intervals."""
        self._take()
        threading.Thread(target=self._run, name="qcore figures", daemon=True).start()

    def stop(self) -> None:
        """Take no more figures."""
        self._ended.set()

    def families(self) -> Iterable[Metric]:
        """The newest figures."""
        return self._families

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            self._take()

    def _take(self) -> None:
        self._families = [
            *self._process.collect(),
            *disk_figures(self._data_dir),
            self._certificate.take(),
        ]


class CertificateFigure:
    """When the certificate of a node ends. Without TLS there is no sample.

    Args:
        tls: the settings.
    """

    def __init__(self, tls: TlsConfig) -> None:
        self._tls = tls
        self._files = tls.files()
        self._stamps: tuple[object, ...] = ()
        self._end: float | None = None

    def take(self) -> Metric:
        """The figure of the files as they are now. It is 0 if they cannot be used: an alert must not end with them."""
        # Files that have not changed are not loaded again: the authorities of a system take some milliseconds.
        if self._files is not None and self._stamps != (stamps := self._files.stamps()):
            self._stamps, self._end = stamps, self._found()
        return GaugeMetricFamily(
            "qcore_tls_certificate_end_timestamp_seconds",
            "When the certificate in the node's file ends, seconds since the Unix epoch; 0 if the files for TLS cannot "
            "be used.",
            self._end,
        )

    def _found(self) -> float:
        try:
            self._tls.contexts()
            assert self._tls.tls_cert is not None, "there are files"
            return certificate_end(self._tls.tls_cert).timestamp()
        except (ConfigError, OSError, ValueError):
            return 0.0


def disk_figures(data_dir: Path) -> list[Metric]:
    """The figures of the disk; none if the system does not report them."""
    try:
        found = os.statvfs(data_dir)
    except OSError:
        return []
    figures = {
        "qcore_disk_free_bytes": (
            "Bytes that the node may still write to the file system of its data directory.",
            found.f_bavail * found.f_frsize,
        ),
        "qcore_disk_size_bytes": (
            "Bytes of the file system of the data directory.",
            found.f_blocks * found.f_frsize,
        ),
        "qcore_data_dir_bytes": (
            "Bytes on disk of the files in the data directory.",
            bytes_below(data_dir),
        ),
    }
    return [GaugeMetricFamily(name, text, value) for name, (text, value) in figures.items()]


def bytes_below(directory: Path) -> int:
    """The bytes on disk of the files in a directory and below it. Files that disappear do not count."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                # In blocks of 512 bytes: a file with holes takes less space than its length.
                total += Path(folder, name).lstat().st_blocks * 512
            except OSError:
                continue
    return total
