"""Trust: the root, join tokens, node certificates and their renewal, sealed files."""
