"""`RunOnce`: one of many workers runs a job in each time slot."""
