"""Elections and operations as tables, and tables as data frames of pandas and polars."""
