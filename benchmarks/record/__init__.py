"""Figures over time: results as a table and a picture, the history, and the check against a version before."""
