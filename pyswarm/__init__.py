"""pyswarm: services and stacks on a cluster of machines."""

__version__ = "0.1.0"
