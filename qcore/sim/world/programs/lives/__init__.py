"""The processes of client programs: their event loops, their lives, and the faults that pause and kill them."""
