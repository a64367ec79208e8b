"""The workload of a run: simulated clients, the operations that they choose, and how machines encode them."""
