"""What the node processes use: memory, descriptors and disk, sampled now and then."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcore.processes import NodeProcess

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """One sample of one node."""

    memory_mib: float
    descriptors: int
    disk_mib: float


class Resources:
    """Samples by node."""

    def __init__(self) -> None:
        self._samples: dict[int, list[Usage]] = defaultdict(list)
        #: The load average of the machine over one minute.
        self.machine_load: list[float] = []

    def sample(self, nodes: list[NodeProcess]) -> None:
        """Look at the machine and at each node once."""
        self.machine_load.append(os.getloadavg()[0])
        for node in nodes:
            process = Path("/proc", str(node.pid))
            resident = int((process / "statm").read_text().split()[1]) * _PAGE
            descriptors = len(list((process / "fd").iterdir()))
            disk = sum(file.stat().st_size for file in node.data_dir.iterdir() if file.is_file())
            self._samples[node.node_id].append(
                Usage(resident / _MIB, descriptors, disk / _MIB),
            )

    def table(self) -> list[str]:
        """Lines of a table in Markdown: the median of the first and of the last quarter, and the most."""
        lines = [
            "| node | memory, MiB: first, last, most | descriptors | disk, MiB |",
            "|---|---|---|---|",
        ]
        for node, samples in sorted(self._samples.items()):
            quarter = max(1, len(samples) // 4)
            cells = []
            for name in ("memory_mib", "descriptors", "disk_mib"):
                values = [float(getattr(one, name)) for one in samples]
                first, last = (
                    statistics.median(values[:quarter]),
                    statistics.median(values[-quarter:]),
                )
                cells.append(f"{first:.0f}, {last:.0f}, {max(values):.0f}")
            lines.append(f"| {node} | {' | '.join(cells)} |")
        return lines
