"""Repairs that cannot lose anything acknowledged, and the copy of the files that is made before."""
