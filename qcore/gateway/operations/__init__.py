"""The requests about keys, leases and watches."""
