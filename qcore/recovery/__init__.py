"""What an operator does with a data directory while no node runs on it: check, repair, begin a new cluster from it.

| folder | what it does |
|---|---|
| `checks` | reads everything in a data directory, and changes nothing |
| `repairs` | repairs what cannot lose anything acknowledged |
| `clusters` | begins a new cluster, from a snapshot file or from the nodes that are left of one that lost its quorum |
"""
