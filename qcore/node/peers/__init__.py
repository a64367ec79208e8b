"""Messages to and from the other members, and the file in which this node remembers them."""
