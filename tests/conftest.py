"""Settings of every test: no example of Hypothesis has a deadline, because a timing never decides a test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("qcore", deadline=None)
settings.load_profile("qcore")
