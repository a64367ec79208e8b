"""Other members: messages to and from them, what this node knows of them, and watches over them."""
