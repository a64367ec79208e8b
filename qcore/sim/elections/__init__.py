"""How long a cluster is without a leader: many elections of real cores, in a loop that simulates nothing else."""
