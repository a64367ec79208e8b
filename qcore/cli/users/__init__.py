"""`qcore user`, `qcore role` and `qcore token`."""
