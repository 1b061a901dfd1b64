"""New versions of secrets and configs in containers that go on running."""
