"""Runs the sequences, and keeps what etcd answered: `python -m tests.gateway.differential.recording` writes the file.

Run it when the corpus or the version of etcd changes. It needs etcd in the PATH.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import cast

from tests.gateway.differential.comparison import Comparison, Difference
from tests.gateway.differential.corpus import ANSWERS, RECORDED
from tests.gateway.differential.exchange import Answer, run_on
from tests.gateway.differential.servers import ETCD, etcd_server, installed_version
from tests.gateway.differential.steps import Json, Sequence, Step

#: The recorded answers of each sequence, in the order of its steps.
Recorded = Mapping[str, tuple[Answer, ...]]


def answers_of(address: str, sequence: Sequence) -> tuple[Answer, ...]:
    """What a server answers to a sequence."""
    with run_on(address) as run:
        return tuple(run.perform(step) for step in sequence.steps)


def compare_answers(
    steps: Iterable[Step], first: Iterable[Answer], second: Iterable[Answer]
) -> list[Difference]:
    """All differences between the answers of two servers to the same steps."""
    comparison = Comparison()
    return [
        difference
        for step, one, other in zip(steps, first, second, strict=True)
        for difference in comparison.differences(step, one, other)
    ]


def compare_servers(first: str, second: str, sequence: Sequence) -> list[Difference]:
    """All differences between the answers of two servers to a sequence."""
    return compare_answers(
        sequence.steps, answers_of(first, sequence), answers_of(second, sequence)
    )


def report(differences: list[Difference], most: int = 30) -> str:
    """A text with the first difference of each step."""
    firsts = {id(difference.step): difference for difference in reversed(differences)}
    shown = [str(difference) for difference in reversed(firsts.values())]
    return "\n".join([f"{len(shown)} steps have different answers", *shown[:most]])


def recorded() -> Recorded:
    """What etcd answered when the file was made."""
    content = json.loads(ANSWERS.read_text(encoding="utf-8"))
    answers = cast(dict[str, list[Json]], content["answers"])
    return {
        name: tuple(Answer.from_json(form) for form in forms) for name, forms in answers.items()
    }


def recorded_version() -> str:
    """The version of etcd that gave the recorded answers."""
    return str(json.loads(ANSWERS.read_text(encoding="utf-8"))["etcd"])


def write(answers: Recorded, version: str) -> None:
    """Write the file, with one answer in a line."""
    blocks = [
        f"{json.dumps(name)}: [\n"
        + ",\n".join(json.dumps(answer.to_json()) for answer in its_answers)
        + "\n]"
        for name, its_answers in answers.items()
    ]
    text = f'{{"etcd": {json.dumps(version)}, "answers": {{\n' + ",\n".join(blocks) + "\n}}\n"
    ANSWERS.write_text(text, encoding="utf-8")


def main() -> int:
    """Write what etcd answers."""
    argparse.ArgumentParser(
        prog="python -m tests.gateway.differential.recording",
        description="Write what etcd answers to the recorded sequences.",
    ).parse_args()
    if ETCD is None:
        sys.stderr.write("etcd is not in the PATH: install Debian's package etcd-server\n")
        return 2
    with etcd_server() as address:
        write({s.name: answers_of(address, s) for s in RECORDED}, installed_version())
    return 0


if __name__ == "__main__":
    sys.exit(main())
