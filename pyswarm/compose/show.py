"""The merged compose file as YAML again (`stack config`)."""

from __future__ import annotations

import yaml

from pyswarm.compose.marked import Marked


def to_yaml(tree: Marked) -> str:
    """Sorted YAML in long form; a dollar sign is doubled, so that the text can be deployed."""
    return str(yaml.safe_dump(_plain(tree), sort_keys=True, allow_unicode=True, width=100))


def _plain(item: Marked) -> object:
    if isinstance(item.value, dict):
        return {key: _plain(entry) for key, entry in item.value.items()}
    if isinstance(item.value, list):
        return [_plain(entry) for entry in item.value]
    return item.value.replace("$", "$$") if isinstance(item.value, str) else item.value
