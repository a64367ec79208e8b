"""Who uses the connections of a node, and what they may send: tokens, passwords, and one table of all messages."""
