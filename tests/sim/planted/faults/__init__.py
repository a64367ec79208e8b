"""Planted bugs of the core and the simulator, each of which needs one kind of fault to show."""
