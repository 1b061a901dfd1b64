"""`service create` and `service update`: flags to a specification.

Every flag of `create` has its counterpart in `update`: single values are replaced, lists are
edited with `--X-add` and `--X-rm`. The flags themselves are in `flags`, a module for each theme.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace

from pyswarm.cli.flags import (
    container,
    files,
    health,
    logging,
    lost,
    network,
    placement,
    resources,
    restart,
)
from pyswarm.cli.flags.declared import (
    DURATION,
    SWITCH,
    Listed,
    Single,
    add_list_edits,
    add_lists,
    add_single,
    add_switches,
    checked,
    edited_map,
    member_of,
    whole,
    with_given,
)
from pyswarm.cli.pairs import key_values
from pyswarm.cli.update_flags import add_policy_flags, policy
from pyswarm.errors import InvalidArgument
from pyswarm.model import RestartCondition, RestartPolicy, ServiceMode, ServiceSpec, TaskSpec

__all__ = [
    "DURATION",
    "SWITCH",
    "add_create_flags",
    "add_update_flags",
    "create_spec",
    "update_spec",
    "warn_ignored",
]

_SINGLE = (
    Single("replicas", whole(), "Number of tasks"),
    Single(
        "max-concurrent",
        whole(),
        "Number of job tasks to run concurrently (default equal to --replicas)",
    ),
    *lost.SINGLE,
    *placement.SINGLE,
    *container.SINGLE,
    *resources.SINGLE,
    *restart.SINGLE,
    *network.SINGLE,
    *health.SINGLE,
    *logging.SINGLE,
)
_SWITCHES = container.SWITCHES
_LISTS = (
    Listed("label", "-l", "Service labels", read=key_values),
    *container.LISTS,
    *placement.LISTS,
    *resources.LISTS,
    *network.LISTS,
    *files.LISTS,
    *logging.LISTS,
)


def add_create_flags(parser: ArgumentParser) -> None:
    """The flags of `service create`."""
    parser.add_argument("--name", default="", help="Service name")
    parser.add_argument(
        "--mode",
        type=checked("mode", member_of(ServiceMode)),
        default=ServiceMode.REPLICATED,
        help='Service mode ("replicated", "global", "replicated-job", "global-job")',
    )
    container.add_create_flags(parser)
    health.add_flags(parser)
    add_policy_flags(parser)
    add_single(parser, _SINGLE)
    add_switches(parser, _SWITCHES)
    add_lists(parser, _LISTS)


def add_update_flags(parser: ArgumentParser) -> None:
    """The flags of `service update`."""
    parser.add_argument("--image", help="Service image tag")
    container.add_update_flags(parser)
    parser.add_argument("--force", action="store_true", help="Update even if nothing changed")
    parser.add_argument("--rollback", action="store_true", help="Back to the previous spec")
    health.add_flags(parser)
    add_policy_flags(parser)
    add_single(parser, _SINGLE)
    add_switches(parser, _SWITCHES)
    add_list_edits(parser, _LISTS)


def warn_ignored(args: Namespace) -> None:
    """Say on standard error what is accepted and has no effect."""
    if args.isolation is not None:
        print("WARNING: --isolation is ignored: it is for Windows", file=sys.stderr)


def _task(args: Namespace, old: TaskSpec) -> TaskSpec:
    return replace(
        lost.edit_task(args, logging.edit(args, old)),
        container=container.edit(args, old.container),
        resources=resources.edit(args, old.resources),
        restart=restart.edit(args, old.restart),
        placement=placement.edit(args, old.placement),
        networks=network.edit_networks(args, old.networks),
    )


def _edit(args: Namespace, old: ServiceSpec) -> ServiceSpec:
    return replace(
        with_given(
            old,
            args,
            {
                "replicas": "replicas",
                "max_concurrent": "max-concurrent",
                "reschedule_after_seconds": "reschedule-after",
            },
        ),
        labels=edited_map(args, "label", old.labels),
        task=_task(args, old.task),
        update=policy(args, "update", old.update),
        rollback=policy(args, "rollback", old.rollback),
        endpoint=network.edit_endpoint(args, old.endpoint),
    )


def _check_mode(args: Namespace, mode: ServiceMode) -> None:
    if mode.is_global and args.replicas is not None:
        raise InvalidArgument("replicas can only be used with replicated or replicated-job mode")
    if mode.is_global and args.replicas_max_per_node is not None:
        raise InvalidArgument(
            "replicas-max-per-node can only be used with replicated or replicated-job mode"
        )
    if args.max_concurrent is not None and mode != ServiceMode.REPLICATED_JOB:
        raise InvalidArgument("max-concurrent can only be used with replicated-job mode")
    if not mode.is_job:
        return
    updating = sorted(
        name
        for name, value in vars(args).items()
        if name.startswith(("update_", "rollback_")) and value is not None
    )
    if updating:
        flag = updating[0].replace("_", "-")
        raise InvalidArgument(f"--{flag} can only be used with replicated or global mode")


def _blank(name: str, mode: ServiceMode) -> ServiceSpec:
    spec = ServiceSpec(name=name, mode=mode)
    if mode.is_job:
        restart = RestartPolicy(condition=RestartCondition.ON_FAILURE)
        spec = replace(spec, task=replace(spec.task, restart=restart))
    return spec


def create_spec(args: Namespace, name: str) -> ServiceSpec:
    """The specification of `service create`; `args` has `image` and `command` too."""
    _check_mode(args, args.mode)
    spec = _edit(args, _blank(args.name or name, args.mode))
    new = replace(spec.task.container, image=args.image, args=tuple(args.command))
    return replace(spec, task=replace(spec.task, container=new))


def update_spec(args: Namespace, old: ServiceSpec) -> ServiceSpec:
    """The specification after `service update`."""
    _check_mode(args, old.mode)
    spec = _edit(args, old)
    new = spec.task.container
    if args.image is not None:
        new = replace(new, image=args.image)
    if args.args is not None:
        new = replace(new, args=args.args)
    force = spec.task.force_update + (1 if args.force else 0)
    return replace(spec, task=replace(spec.task, container=new, force_update=force))
