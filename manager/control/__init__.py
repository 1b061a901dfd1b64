"""The control API: checks and edits."""
