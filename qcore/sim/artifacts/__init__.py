"""Artifacts: directories that each hold one failing run, with all that is needed to run it again elsewhere.

| file | holds |
|---|---|
| `scenario.yaml` | the scenario that the seed drew; it needs no other scenario file |
| `failure.json` | seed, cause, first violations, failed expectations, trace hash, and the command to type |
| `trace.qtrace` | the compact trace of the run; missing if the run could not be repeated |
| `*.py` | copies of the user's files that the scenario names |
"""

from qcore.sim.artifacts.artifact import (
    Artifact,
    artifact_files,
    is_artifact,
    load_artifact,
    save_artifact,
    write_artifact,
)
from qcore.sim.artifacts.failure_cause import Cause, cause_of, cause_of_error

__all__ = [
    "Artifact",
    "Cause",
    "artifact_files",
    "cause_of",
    "cause_of_error",
    "is_artifact",
    "load_artifact",
    "save_artifact",
    "write_artifact",
]
