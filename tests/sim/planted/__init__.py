"""Planted bugs: each needs one kind of fault to show, and a check that catches it then."""
