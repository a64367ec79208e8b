"""Watches: a client receives the changes of fields and topics, in the order of the log, each once."""
