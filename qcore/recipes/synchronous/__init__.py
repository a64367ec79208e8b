"""The recipes for programs without asyncio."""
