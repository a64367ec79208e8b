"""`TraceOrigin`: what a run began with, so that its trace alone is enough to run it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from qcore.compiled_build import register_copies


@dataclass(frozen=True)
class TraceOrigin:
    """What the traced run began with. It is beside the records, and not part of the trace hash.

    Attributes:
        scenario: the text of the scenario that was drawn.
        source: the absolute path of its file, if it names files of the user, which are found beside it; else empty.
        seed: the seed.
        qcore: the version of qcore.
        missing: what the run got from a program, and the scenario does not name: `machine`, `program`, `oracles`.
    """

    scenario: str
    source: str
    seed: int
    qcore: str
    missing: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The origin as a JSON object."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`. Unknown keys mean nothing.

        Raises:
            ValueError: it is no such object.
        """
        found = json.loads(text)
        try:
            return cls(
                found["scenario"],
                found["source"],
                found["seed"],
                found["qcore"],
                tuple(found["missing"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the origin of the trace is incomplete: {error}") from None


register_copies(globals())
