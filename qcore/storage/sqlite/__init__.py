"""The durable log in one SQLite database: its layout, its checks when it is opened, its transactions."""
