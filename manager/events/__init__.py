"""What has happened to the objects of the swarm."""
