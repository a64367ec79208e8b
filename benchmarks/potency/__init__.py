"""Potency: how soon each way of generating runs finds each planted fault."""
