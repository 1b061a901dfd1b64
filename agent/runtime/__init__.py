"""Containers by containerd: images, OCI configurations, processes and their output."""

from agent.runtime.facts import RuntimeInfo
from agent.runtime.images import Image, ImageConfig
from agent.runtime.runtime import ContainerdRuntime

__all__ = ["ContainerdRuntime", "Image", "ImageConfig", "RuntimeInfo"]
