"""Brings the kernel to what the endpoint sets and the local containers ask for."""
