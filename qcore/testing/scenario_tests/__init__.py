"""Tests that are scenarios: the decorator `@qcore.scenario` and the fixture `simulate`, and what they report."""
