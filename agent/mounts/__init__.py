"""The files, secrets, configs and volumes that a container is shown."""
