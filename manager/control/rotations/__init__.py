"""Calls about the rotation of secrets and configs."""
