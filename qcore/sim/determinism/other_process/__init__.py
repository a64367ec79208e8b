"""A second process for copies of a machine, and how it finds the machine."""
