"""Calls about nodes."""
