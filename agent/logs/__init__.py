"""Answers requests for the logs of this node's tasks."""
