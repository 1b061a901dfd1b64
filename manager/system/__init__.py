"""What lies on the disks of all nodes."""
