"""Questions to single nodes, over their sessions with the leader."""
