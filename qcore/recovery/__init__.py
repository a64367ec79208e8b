"""What an operator does with a data directory while no node runs on it: check, repair, begin a new cluster from it.

| module | what it does |
|---|---|
| `data_dir_check` | reads everything in a data directory, and changes nothing |
| `repair` | repairs what cannot lose anything acknowledged |
| `new_cluster_state` | the state with which a new cluster begins, from a snapshot of an older one (pure) |
| `restore` | begins a new cluster from a snapshot file |
| `survivors`, `recover` | begins a new cluster from the nodes that are left of one that lost its quorum |
"""
