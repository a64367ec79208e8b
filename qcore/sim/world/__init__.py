"""The simulated cluster: nodes, network, disks, clocks."""
