"""A real node: assembles replica, storage and transport into a process, and answers clients, peers and HTTP."""
