"""The judgement of a run: the monitor that watches it, expectations, lost writes, stale reads and metrics."""
