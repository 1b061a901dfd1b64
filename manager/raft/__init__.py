"""Consensus among the managers; see README.md. `driver.RaftNode` is what others use."""
