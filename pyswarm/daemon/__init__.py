"""The daemon: the one process of each host."""
