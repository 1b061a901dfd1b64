"""Where a container's output goes."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from pyswarm.cli.flags.declared import Listed, Single, edited_map, with_given
from pyswarm.cli.pairs import key_values
from pyswarm.errors import InvalidArgument
from pyswarm.model import TaskSpec
from pyswarm.model.logdrivers import DRIVERS


def log_driver(text: str) -> str:
    """A log driver that nodes have, or empty for the default."""
    if text and text not in DRIVERS:
        raise InvalidArgument(f"there is no log driver {text}, use one of {', '.join(DRIVERS)}")
    return text


SINGLE = (
    Single("log-driver", log_driver, "Logging driver for service (json-file, journald, none)"),
)
LISTS = (Listed("log-opt", None, "Logging driver options", edited=False, read=key_values),)


def edit(args: Namespace, old: TaskSpec) -> TaskSpec:
    """The task with its log driver after the flags."""
    task = with_given(old, args, {"log_driver": "log-driver"})
    # The options of one driver mean nothing to another.
    kept = {} if args.log_driver is not None else old.log_options
    return replace(task, log_options=edited_map(args, "log-opt", kept))
