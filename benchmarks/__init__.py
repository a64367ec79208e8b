"""The benchmarks. README.md holds the figures; `python -m benchmarks` measures them again."""
