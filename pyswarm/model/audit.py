"""What people did to running tasks, for the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyswarm.model.meta import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRecord:
    """A program that somebody had run in a task's container, begun at `meta.created_at`.

    `manager_id` is the node whose manager was asked; `asked_by` is what the command line said of
    its user. The environment is not kept: it may hold passwords. `exit_code` counts once `ended`.
    """

    id: str = ""
    meta: Meta = Meta()
    task_id: str = ""
    task_name: str = ""
    service_id: str = ""
    service_labels: Mapping[str, str] = field(default_factory=dict)
    node_id: str = ""
    manager_id: str = ""
    asked_by: str = ""
    command: tuple[str, ...] = ()
    user: str = ""
    tty: bool = False
    ended: bool = False
    exit_code: int = 0
    error: str = ""
