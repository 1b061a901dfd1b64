"""Calls about the cluster itself."""
