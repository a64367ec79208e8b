"""What one holder, or a few, have at a time: locks, semaphores and the leadership."""
