"""The key-value machine: ordered keys with revisions, transactions, leases and a history for watches."""
