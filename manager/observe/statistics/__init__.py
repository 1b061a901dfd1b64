"""What tasks use, asked of their nodes."""
