"""Calls about updates that run, rollbacks and the history of services."""
