"""Where a container's output goes."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import Listed, Single, edited_map, with_given
from pyswarm.model import TaskSpec

SINGLE = (Single("log-driver", None, "Logging driver for service"),)
LISTS = (Listed("log-opt", None, "Logging driver options", edited=False),)


def edit(args: Namespace, old: TaskSpec) -> TaskSpec:
    """The task with its log driver after the flags."""
    task = with_given(old, args, {"log_driver": "log-driver"})
    return replace(task, log_options=edited_map(args, "log-opt", old.log_options))
