"""Go's text/template, the part that placeholders need; and the placeholders of a task. Pure.

`syntax` reads, `evaluate` fills, `functions` has what may be called, `tasks` says what a service's
hostname, environment and mounts may refer to.
"""

from pyswarm.templates.evaluate import render
from pyswarm.templates.syntax import TemplateError, parse

__all__ = ["TemplateError", "parse", "render"]
