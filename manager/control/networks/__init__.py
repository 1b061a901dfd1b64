"""Calls about networks."""
