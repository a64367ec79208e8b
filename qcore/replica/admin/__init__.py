"""Admin requests that take more than one log entry: membership changes, catching up learners, transfers."""
