"""`qcore log`: what is in a node's log and snapshot."""
