"""What is left when managers are lost: backups, going on alone, and telling how things stand."""
