"""The flags of `service create` and `service update`, a module for each theme. Pure.

A theme has its tables `SINGLE`, `SWITCHES` and `LISTS` for the parsers, and a function that
edits its part of a specification.
"""
