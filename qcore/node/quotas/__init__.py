"""The quotas of one node: what each client may send in a second, and how much of the disk must stay free."""
