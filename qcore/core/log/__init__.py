"""The log of one server: append, replicate, commit, compact and restore it, and measure how fast the disk stores it."""
