"""What the records of client programs that use recipes must satisfy, in the simulator and with real processes."""
