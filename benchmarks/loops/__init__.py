"""Loops around the parts that are measured. `make compile` compiles them: else their own cost would show in figures."""

import qcore  # noqa: F401 - first, because it chooses which build of these modules is loaded
