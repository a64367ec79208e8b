"""A node that uses the example storage: `python -m tests.process.programs.node_on_json PORT DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

from qcore.node.config import NodeConfig
from qcore.node.main import run_node
from qcore.transport.address import Address
from tests.examples import load_example


def main() -> int:
    port, directory = sys.argv[1:]
    config = NodeConfig.of(1, Path(directory), ws_addr=Address("127.0.0.1", int(port)))
    return run_node(config, open_storage=load_example("json_storage").JsonStorage)


if __name__ == "__main__":
    sys.exit(main())
