"""The parts of figures: windows of time, lag, outcomes, messages, space-time diagrams, distributions."""
