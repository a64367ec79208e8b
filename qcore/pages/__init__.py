"""The web pages of qcore, as package data, and what makes one self-contained file of their parts."""
