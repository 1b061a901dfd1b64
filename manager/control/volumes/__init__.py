"""Calls about volumes."""
