"""Patroni keeps PostgreSQL available through qcore or etcd, under faults. Checks judge the records."""
