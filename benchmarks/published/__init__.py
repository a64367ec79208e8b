"""Figures that others have published, beside those of this simulator."""
