"""Finds user-defined state machines that are not deterministic, after a run, and explains the first difference.

The commands of a run are applied again on copies of the machine, under circumstances that must not matter:

| copy | what is different |
|---|---|
| shadowed | other objects, clock, entropy and `id`; commands and queries are those of the run |
| second process | the same, and another `PYTHONHASHSEED`, environment and working directory; order of sets reversed |
| restored | begins from a snapshot, taken at a random index, with other borders of chunks |
| overwritten | the same, but held an older or a newer state before |

All must give the same results, answers, state hashes and snapshots. `determinism_check.py` begins, `comparison.py`
compares, and `likely_cause.py` finds the cause by experiments that change one circumstance at a time.
"""
