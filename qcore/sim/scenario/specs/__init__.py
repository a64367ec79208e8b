"""The parts of a scenario file except its timeline: cluster, node settings, network, workload, expectations."""
