"""Admin requests that outlast one log entry: membership changes, learners that catch up, leadership transfers."""
