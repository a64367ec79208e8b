"""Traces in the formats of other programs: ShiViz and Perfetto."""
