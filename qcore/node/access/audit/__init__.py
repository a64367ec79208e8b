"""What a node records of those who use it: the audit log, and logins that failed."""
