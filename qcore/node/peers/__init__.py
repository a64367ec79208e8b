"""The other members: messages to and from them, what this node remembers of them, and checks of the membership."""
