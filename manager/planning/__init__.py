"""The loop in which every planner runs; the planners themselves know nothing of it."""
