"""Replay: run again what was kept of a run or of a real node, stop anywhere in it, and look at its state."""
