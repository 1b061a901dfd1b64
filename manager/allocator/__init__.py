"""Addresses, ports and numbers: what must be given out once and never twice."""
