"""Questions of the managers to this node."""
