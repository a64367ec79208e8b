"""Scripts that count instead of measuring time: their results are the same on every machine."""
