"""The path of the checkout, for tests in any folder."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
DOCS = CHECKOUT / "docs"
EXAMPLES = CHECKOUT / "examples"
SCENARIOS = CHECKOUT / "scenarios"
