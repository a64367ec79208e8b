"""The client for programs without asyncio, and what makes the synchronous version of any asynchronous class."""
