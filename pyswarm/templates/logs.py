"""The log option `tag`, in the fields of Docker's log drivers."""

from __future__ import annotations

from typing import Final

from pyswarm.templates.evaluate import render
from pyswarm.templates.syntax import TemplateError

SHORT_CHARS: Final = 12
DEFAULT_TAG: Final = "{{.ID}}"


def log_tag(text: str, container_id: str, name: str, image: str) -> str:
    """The tag of a container's output; raises TemplateError."""
    values = {
        "ID": container_id[:SHORT_CHARS],
        "FullID": container_id,
        "Name": name,
        "ImageName": image,
        "DaemonName": "pyswarm",
    }
    try:
        return render(text, values)
    except TemplateError as error:
        raise TemplateError(f'the log option tag "{text[:80]}": {error.message}') from None
