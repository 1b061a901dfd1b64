"""What nodes answer when they are asked, and what they have beside tasks."""
