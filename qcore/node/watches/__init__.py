"""What a node checks continuously and logs: the members' states, priorities, wall clocks, its own removal."""
