"""`secret inspect --pretty` and `config inspect --pretty`, in Docker's words. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pyswarm.cli.jsonview import timestamp
from pyswarm.cli.render import clean
from pyswarm.model import Config, Secret


def payloads_text(found: Iterable[Secret | Config]) -> str:
    """A fact in each line, an empty line between two; the content of a config, never a secret's."""
    return "\n\n".join(_text(each) for each in found)


def _text(payload: Secret | Config) -> str:
    spec = payload.spec
    lines = [_line("ID:", payload.id), _line("Name:", spec.name)]
    if spec.labels:
        lines.append("Labels:")
        lines += [clean(f" - {key}={spec.labels[key]}") for key in sorted(spec.labels)]
    lines += [
        _line("Version:", str(payload.version)),
        _line("Created at:", timestamp(payload.meta.created_at)),
        _line("Updated at:", timestamp(payload.meta.updated_at)),
    ]
    if isinstance(payload, Config):
        text = spec.data.decode(errors="replace")
        lines += ["Data:", *(clean(line) for line in text.splitlines())]
    return "\n".join(lines)


def _line(label: str, text: str) -> str:
    return f"{label.ljust(19)}{clean(text)}"
