"""What nodes and clients take from the world that they run in, behind one protocol: `Runtime`."""
