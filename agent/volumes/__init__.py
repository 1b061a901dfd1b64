"""Volumes of this node: made, mounted, removed, reported."""
