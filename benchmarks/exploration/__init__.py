"""The exploration of small clusters: how fast it is, and how soon it finds planted faults."""
