"""The API for looking into the swarm and reaching into its tasks."""
