"""The images of a node: how long they stay, and what they take."""
