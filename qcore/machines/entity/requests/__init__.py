"""The forms of the requests: `Perform`, the messages of the store, and the commands in the log."""
