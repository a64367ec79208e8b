"""The explored cluster: real cores, disks, messages in flight, and the properties that must hold."""
