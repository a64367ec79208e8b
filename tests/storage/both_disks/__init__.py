"""One table of disk faults, which runs against real storage and against the disk of the simulator.

`rows.py` is the table. `simulated_disk.py` and `real_disk.py` are the two disks. The real one is SQLite behind the
writer of a node, in a process whose system calls can fail (`tests/storage/faults`).
"""
