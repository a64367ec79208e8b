"""The parts of `bench_cluster`: light generators of load, the clusters under it, and measuring in turns."""
