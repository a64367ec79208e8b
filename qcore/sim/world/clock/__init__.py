"""The clock and the event queue of a run."""
