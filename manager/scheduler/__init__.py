"""Decides on which node each task runs."""
