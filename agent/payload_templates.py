"""Templates in the content of secrets and configs: `--template-driver golang`.

Beside what `pyswarm.templates.tasks` has there are `env "NAME"`, `secret "target"` and
`config "target"`: a variable of the container, and the content of another file of the same task,
by the target of its reference or by its name. Anything else is refused, never passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from pyswarm.errors import InvalidArgument
from pyswarm.model import Config, ContainerSpec, FileReference, NodeDescription, Secret, Task
from pyswarm.templates.evaluate import render
from pyswarm.templates.functions import FUNCTIONS
from pyswarm.templates.syntax import TemplateError
from pyswarm.templates.tasks import context


@dataclass(frozen=True, slots=True)
class Contents:
    """What the files of one task say, by the id of the record. `private` are configs that were
    filled on this node: they may hold secrets, and stay in memory."""

    secrets: Mapping[str, bytes]
    configs: Mapping[str, bytes]
    private: frozenset[str] = frozenset()


def contents(
    task: Task,
    container: ContainerSpec,
    node: NodeDescription,
    secrets: Mapping[str, Secret],
    configs: Mapping[str, Config],
    *,
    held: bool,
) -> Contents:
    """The contents for a task; `container` has its placeholders filled. Where the task's memory is
    `held` from before a restart, nothing of it is made again. Raises InvalidArgument."""
    private = frozenset(
        r.id for r in container.configs if r.id in configs and configs[r.id].spec.template_driver
    )
    fill = _filler(task, container, node, secrets, configs)
    wanted_secrets = () if held else container.secrets
    wanted_configs = [r for r in container.configs if not (held and r.id in private)]
    return Contents(
        {r.id: _filled(secrets[r.id], fill) for r in wanted_secrets if r.id in secrets},
        {r.id: _filled(configs[r.id], fill) for r in wanted_configs if r.id in configs},
        private,
    )


Fill = Callable[[str], str]


def _filled(payload: Secret | Config, fill: Fill) -> bytes:
    if not payload.spec.template_driver:
        return payload.spec.data
    text = payload.spec.data.decode(errors="surrogateescape")
    try:
        return fill(text).encode(errors="surrogateescape")
    except InvalidArgument as error:
        kind = type(payload).__name__.lower()
        raise InvalidArgument(f"{kind} {payload.spec.name}: {error.message}") from error


def _filler(
    task: Task,
    container: ContainerSpec,
    node: NodeDescription,
    secrets: Mapping[str, Secret],
    configs: Mapping[str, Config],
) -> Fill:
    variables = dict(line.partition("=")[::2] for line in container.env)

    def content(
        word: str,
        references: tuple[FileReference, ...],
        records: Mapping[str, Secret | Config],
        name: str,
    ) -> str:
        found = _named(references, name)
        if found is None or found.id not in records:
            raise TemplateError(f'{word} target "{name}" not found: the service must have it, too')
        # As it is: a template in a template would not end.
        return records[found.id].spec.data.decode(errors="surrogateescape")

    functions = {
        **FUNCTIONS,
        "env": lambda name: variables.get(name, ""),
        "secret": lambda name: content("secret", container.secrets, secrets, name),
        "config": lambda name: content("config", container.configs, configs, name),
    }
    return partial(render, values=context(task, node), functions=functions)


def _named(references: tuple[FileReference, ...], name: str) -> FileReference | None:
    by_target = [r for r in references if (r.target or r.name) == name]
    by_name = [r for r in references if r.name == name]
    return next(iter(by_target + by_name), None)
