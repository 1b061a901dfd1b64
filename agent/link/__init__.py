"""The agent's link to the managers."""
