"""Programs that users have run in tasks."""
