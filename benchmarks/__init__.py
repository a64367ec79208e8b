"""The benchmarks, one module each. README.md holds the figures; `python -m benchmarks` measures them again."""
