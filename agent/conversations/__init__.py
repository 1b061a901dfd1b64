"""What this node does because a manager asked it to, and answers on a stream."""
