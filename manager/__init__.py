"""Managers: they keep the state and decide what runs where."""
