"""Containers on containerd: its API, images from registries, the containers themselves."""
