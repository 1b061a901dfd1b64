"""Does what a task's machine asks for: image, networks, files, container."""
