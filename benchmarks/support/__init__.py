"""Parts that several benchmarks need: the model of the pipeline, etcd, and a node with a deep pipeline."""
