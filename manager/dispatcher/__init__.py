"""The managers' side of the agents' sessions."""
