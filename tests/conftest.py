"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# A timing never decides a test: on a busy machine, or while the coverage is measured, an example may take long.
settings.register_profile("qcore", deadline=None)
settings.load_profile("qcore")
