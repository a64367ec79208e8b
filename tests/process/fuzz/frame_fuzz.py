"""Sends hostile frames to a node and checks each answer.

    python -m tests.process.fuzz.frame_fuzz 100000

does so with a new node, and prints the figures.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from qcore.processes import NodeProcess, ProcessCluster
from tests.process.attacks.amplification import report
from tests.process.attacks.attacker import Attacker
from tests.process.attacks.entity_requests import create, field, set_schema, update, write
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.fuzz.hostile_frames import FrameGenerator, HostileFrame
from tests.process.support.wire_client import WireClient

#: Frames sent before the answers are awaited, and the longest wait for them, s.
_BATCH, _PATIENCE_S = 50, 60.0
#: Attempts of which the fastest counts: the machine may be busy.
_ATTEMPTS = 20


@dataclass(slots=True, frozen=True)
class FuzzFigures:
    """What a run saw.

    Attributes:
        frames, replies, closed: the number of frames, of envelopes in answer, and of connections that the node closed.
        frames_per_s: frames sent and answered in a second.
        warm_mib, end_mib: memory of the node after the first quarter of the frames and at the end.
        answer_s: how long the node took afterwards for a linearizable read; the fastest of some.
        kinds: the number of frames of each kind.
    """

    frames: int
    replies: int
    closed: int
    frames_per_s: float
    warm_mib: float
    end_mib: float
    answer_s: float
    kinds: Counter[str]

    def row(self) -> str:
        return (
            f"{self.frames} frames, {self.replies} replies, {self.closed} closed, "
            f"{self.frames_per_s:.0f} frames/s, {self.warm_mib:.1f} MiB after a quarter, "
            f"{self.end_mib:.1f} MiB at the end, answer in {self.answer_s * 1000:.1f} ms"
        )


@contextmanager
def fuzzed_node(directory: Path) -> Iterator[NodeProcess]:
    """A cluster of one node whose store has a type `T`, with a field `F`, and an entity."""
    with ProcessCluster(directory, 1, ARGUMENTS) as cluster:
        cluster.start()
        initialise(cluster)
        (node,) = cluster.nodes.values()
        with WireClient(node.address) as client:
            client.ask("Perform", request=set_schema("T", field("String", "F", "")))
            entity = client.ask("Perform", request=create("T"))["CreateEntity"]["response"]
            written = client.ask("Perform", request=update(write(entity, "F", {"String": "x"})))
            assert written["UpdateEntity"]["error"] is None, written
        yield node
    assert_no_traceback(cluster)
    assert "internal error" not in node.log_text(), node.log_tail()


def replicated(node: NodeProcess) -> dict[str, Any]:
    """The parts of a node's status that change with every write."""
    status = node.status()
    extra = status["qcore"]
    return {
        **{name: status[name] for name in ("current_term", "last_log_index", "membership_config")},
        **{name: extra[name] for name in ("applied_index", "durable_index", "state_hash")},
        **{name: extra[name] for name in ("apply_rules", "machine", "stored")},
    }


def resident_mib(node: NodeProcess) -> float:
    """The memory of the node now, MiB."""
    for line in Path(f"/proc/{node.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def fuzz(node: NodeProcess, seed: int, frames: int) -> FuzzFigures:
    """Send this many frames to the node and check every answer.

    Raises:
        AssertionError: an answer was not as expected. Names the seed, the position and the kinds of the frames.
    """
    sender = _Sender(node.address, seed)
    generator = iter(FrameGenerator(seed))
    began = time.monotonic()
    warm = 0.0
    while sender.frames < frames:
        sender.send(list(islice(generator, min(_BATCH, frames - sender.frames))))
        if not warm and sender.frames >= frames // 4:
            warm = resident_mib(node)
    took = time.monotonic() - began
    sender.close()
    return FuzzFigures(
        sender.frames,
        sender.replies,
        sender.closed,
        sender.frames / took,
        warm,
        resident_mib(node),
        min(_answer_s(node) for _ in range(_ATTEMPTS)),
        sender.kinds,
    )


class _Sender:
    """Sends frames over one connection after the other."""

    def __init__(self, address: str, seed: int) -> None:
        self._address, self._seed = address, seed
        self._attacker = Attacker(address)
        self.frames = self.replies = self.closed = 0
        self.kinds: Counter[str] = Counter()

    def close(self) -> None:
        self._attacker.close()

    def send(self, frames: list[HostileFrame]) -> None:
        """Send frames, and check what comes back."""
        waiting: list[HostileFrame] = []
        for frame in frames:
            self.frames += 1
            self.kinds[frame.kind] += 1
            if not frame.expected.closes:
                self._attacker.send_bytes(frame.wire)
                waiting.append(frame)
                continue
            self._check_answers(waiting)
            waiting = []
            self._check_close(frame)
        self._check_answers(waiting)

    def _check_answers(self, frames: list[HostileFrame]) -> None:
        where = f"seed {self._seed}, frames up to {self.frames}: {[each.kind for each in frames]}"
        attacker = self._attacker
        expected = sum(each.expected.replies for each in frames)
        errors = sum(each.expected.errors for each in frames)
        complete = attacker.run(expected, _PATIENCE_S)
        got = len(attacker.replies)
        assert complete, f"{got} of {expected} replies, close code {attacker.close_code}; {where}"
        assert got == expected, f"{got} replies instead of {expected}; {where}"
        for reply in attacker.replies:
            ((name, body),) = reply.items()
            assert isinstance(body["id"], str), f"{reply}; {where}"
            if name == "Error":
                errors -= 1
                assert body["error"], f"{reply}; {where}"
                assert "Traceback" not in body["error"], f"{reply}; {where}"
            else:
                assert name.endswith("Response"), f"{reply}; {where}"
                assert "response" in body, f"{reply}; {where}"
        assert errors <= 0, f"{errors} errors are missing; {where}"
        self.replies += got
        attacker.replies.clear()

    def _check_close(self, frame: HostileFrame) -> None:
        attacker = self._attacker
        attacker.send_bytes(frame.wire)
        attacker.run(1 << 30, _PATIENCE_S)
        assert attacker.closed, f"not closed after: {frame.kind}, frame {self.frames}"
        assert attacker.close_code != 1011, f"an internal error: {frame.kind}, frame {self.frames}"
        self.closed += 1
        self._attacker = Attacker(self._address)


def _answer_s(node: NodeProcess) -> float:
    began = time.monotonic()
    with WireClient(node.address) as client:
        found = client.ask("StoreFindEntities", entity_type="T", page_opts=None)
    assert found["Ok"]["total"] == 1, found
    return time.monotonic() - began


def main() -> None:
    """Fuzz a new node with the number of frames and the seed from the command line."""
    frames, seed = [*map(int, sys.argv[1:]), *(2_000, 1)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as directory, fuzzed_node(Path(directory)) as node:
        before = replicated(node)
        figures = fuzz(node, seed, frames)
        assert replicated(node) == before
        report(figures.row())
        for kind, count in sorted(figures.kinds.items()):
            report(f"  {count:7} {kind}")


if __name__ == "__main__":
    main()
