"""Requests of clients and operators: admitted, forwarded, answered once."""
