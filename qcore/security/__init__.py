"""What protects a cluster from strangers. See docs/security.md."""
