"""Conversations with nodes: streams that a node opens because a manager asked it to."""
