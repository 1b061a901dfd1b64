"""What the calls of all kinds of objects share."""
