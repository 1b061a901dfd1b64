"""The agent of a node: it runs what the managers assign."""
