"""The routed overlay: networks between containers, their names, and published ports."""
