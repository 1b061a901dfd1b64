"""Logs of services, collected from the nodes that have them."""
