"""Runs one task: its machine decides, the executor does."""
