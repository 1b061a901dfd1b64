"""Real managers under faults, with clients whose histories are checked for linearizability."""
