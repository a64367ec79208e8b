"""New clusters from backups and from what is left of old ones."""
