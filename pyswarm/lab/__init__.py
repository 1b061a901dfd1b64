"""Hosts as namespaces on one machine, each with its own containerd and daemon."""
