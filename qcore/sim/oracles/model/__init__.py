"""The check of answers against a sequential model: the order of the log as witness, a search, an explanation."""
