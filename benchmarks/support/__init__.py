"""Shared parts of the benchmarks: the model of the pipeline, an etcd cluster, and a node with a deep pipeline."""
