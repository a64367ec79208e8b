"""The options that say how a new cluster continues above an older one."""

from __future__ import annotations

from typing import Annotated, Final

import typer

#: The defaults; see `qcore.recovery.clusters.new_cluster_state`.
INDEX_BUMP: Final = 10**12
TERM_BUMP: Final = 10**6

BumpIndexOption = Annotated[
    int,
    typer.Option(
        "--bump-index",
        min=1,
        help="How far log indexes jump. Clients must have seen none so high, also not in a cluster that began before "
        "from the same backup or older: after one, give twice as much.",
    ),
]
BumpTermOption = Annotated[
    int,
    typer.Option("--bump-term", min=1, help="How far terms jump, for the same reason."),
]
