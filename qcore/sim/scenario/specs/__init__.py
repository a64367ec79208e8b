"""The models of a scenario file's parts, except the timeline: cluster, settings, network, workload, expectations."""
