"""Remembers the outcomes of runs on disk, so that a repeated sweep takes no time."""

from __future__ import annotations

import json
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO

from qcore.errors import ConfigError
from qcore.release import __version__
from qcore.sim.artifacts.failure_cause import Cause
from qcore.sim.sweeps.executors.run_jobs import Outcome, RunSource


@cache
def source_digest() -> str:
    """The digest of the source of qcore and of the version of Python: what a run depends on beside its scenario."""
    root = Path(__file__).resolve().parents[2]
    digest = sha256(f"{__version__} {sys.version_info[:2]}".encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(f"\n{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


class OutcomeCache:
    """A directory with a file for each source of runs.

    A change of the scenario, of the user's files, or of the source of qcore begins another file. Runs that ended
    their process or did not end are not remembered.

    Args:
        directory: created if it does not exist.

    Raises:
        ConfigError: it cannot be used.
    """

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._known: dict[str, dict[int, Outcome]] = {}
        self._files: dict[str, IO[str]] = {}
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot use the cache {directory}: {error.strerror}") from None

    def get(self, source: RunSource, seed: int) -> Outcome | None:
        """The outcome of a seed; None if it is not known."""
        if source.key not in self._known:
            self._known[source.key] = self._read(source)
        return self._known[source.key].get(seed)

    def put(self, source: RunSource, outcome: Outcome) -> None:
        """Remember an outcome.

        Raises:
            ConfigError: it cannot be written.
        """
        if not outcome.repeatable:
            return
        try:
            file = self._files.get(source.key)
            if file is None:
                file = self._path(source).open("a", encoding="utf-8")
                self._files[source.key] = file
            file.write(json.dumps(_as_json(outcome), ensure_ascii=False) + "\n")
        except OSError as error:
            raise ConfigError(
                f"cannot write the cache {self._directory}: {error.strerror}"
            ) from None

    def close(self) -> None:
        """Write what is pending."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _path(self, source: RunSource) -> Path:
        both = sha256(f"{source.key} {source_digest()}".encode()).hexdigest()
        return self._directory / f"{both[:32]}.jsonl"

    def _read(self, source: RunSource) -> dict[int, Outcome]:
        try:
            text = self._path(source).read_text(encoding="utf-8")
        except OSError:
            return {}
        found: dict[int, Outcome] = {}
        for line in text.splitlines():
            try:
                outcome = _from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):  # a line that was cut: its run is repeated
                continue
            found[outcome.seed] = outcome
        return found


def _as_json(outcome: Outcome) -> dict[str, object]:
    cause = outcome.cause
    return {
        "seed": outcome.seed,
        "cause": None if cause is None else [cause.key, cause.text],
        "trace_sha256": outcome.trace_sha256,
        "seconds": round(outcome.seconds, 6),
        "cpu_s": round(outcome.cpu_s, 6),
    }


def _from_json(body: dict[str, object]) -> Outcome:
    cause = body["cause"]
    if cause is not None:
        assert isinstance(cause, list), "as written"
        key, text = cause
        cause = Cause(str(key), str(text))
    seed, seconds, cpu_s = body["seed"], body["seconds"], body["cpu_s"]
    assert isinstance(seed, int)
    assert isinstance(seconds, float | int)
    assert isinstance(cpu_s, float | int)
    return Outcome(seed, cause, str(body["trace_sha256"]), seconds, cpu_s)
