"""The watch stream of the control API."""
