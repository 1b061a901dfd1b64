"""Calls about services and their tasks."""
