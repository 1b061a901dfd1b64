"""Managers come and go: membership of the raft group, and what it means for nodes."""
