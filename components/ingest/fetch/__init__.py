"""Fetching a data set: bytes from a server, archives verified and unpacked, and their data card."""
