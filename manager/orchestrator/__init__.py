"""Turns services into tasks, and keeps as many as were asked for."""
