"""Tests of the tools under benchmarks/: what they report is true. No test depends on a timing."""
