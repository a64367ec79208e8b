"""Judges a finished run by the expectations of its scenario: one module for each topic of `expect`."""
