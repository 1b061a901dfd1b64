"""Keeps the overlay at the endpoint sets that the managers sent last."""
