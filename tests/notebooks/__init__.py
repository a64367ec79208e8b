"""The notebooks: running them, and renewing their outputs."""
