"""Logins for registries, and the digests of images."""
