"""Topology files: the first entities of a cluster, written in YAML."""
