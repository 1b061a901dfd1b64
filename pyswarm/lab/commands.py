"""The command line of the lab: `pyswarm lab ...`, or `python -m pyswarm.lab ...`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pyswarm.errors import FailedPrecondition, SwarmError
from pyswarm.lab import host, layout, machine, swarm
from pyswarm.lab.machine import Lab

Handler = Callable[[argparse.Namespace], int]


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lab` with its sub-commands to the command line's parser."""
    parser = subparsers.add_parser(
        "lab", help="a cluster of hosts on this machine, made of namespaces"
    )
    add_commands(parser)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands of `lab` to `parser`; `run` takes what it parsed."""
    commands = parser.add_subparsers(dest="lab_command", metavar="COMMAND", required=True)

    def command(name: str, handler: Handler, words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words)
        added.add_argument("--name", default="default", help="the lab's name (default: default)")
        added.set_defaults(lab_handler=handler)
        return added

    up = command("up", _up, "start hosts and form a swarm on them")
    up.add_argument("--managers", type=int, default=3, metavar="N")
    up.add_argument("--workers", type=int, default=2, metavar="N")
    up.add_argument("--publish", action="append", default=[], metavar="PORT:PORT")
    up.add_argument("--no-daemon", action="store_true", help="containerd only")
    up.add_argument("--no-swarm", action="store_true", help="daemons, but no swarm on them")
    command("down", _down, "remove the hosts and everything that belongs to them")
    ls = command("ls", _ls, "list the hosts")
    ls.add_argument("--format", choices=["table", "json"], default="table")
    execute = command("exec", _exec, "run a command inside a host")
    execute.add_argument("host", metavar="HOST")
    execute.add_argument("argv", metavar="CMD", nargs=argparse.REMAINDER)
    logs = command("logs", _logs, "show the log of a host's daemon")
    logs.add_argument("host", metavar="HOST")
    logs.add_argument("--program", choices=["daemon", "containerd", "registry", "init"], default="")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--tail", type=int, default=100, metavar="LINES")
    for name, handler, words in (
        ("start", _start, "power a host on"),
        ("stop", _stop, "power a host off in order"),
        ("kill", _kill, "cut a host's power"),
        ("heal", _heal, "undo the partitions of a host"),
    ):
        command(name, handler, words).add_argument("host", metavar="HOST")
    partition = command("partition", _partition, "cut a host off from the others")
    partition.add_argument("host", metavar="HOST")
    partition.add_argument("--from", dest="others", nargs="+", default=[], metavar="HOST")
    push = command("push", _push, "push an OCI image layout to the lab's registry")
    push.add_argument("directory", metavar="DIRECTORY")
    push.add_argument("reference", metavar="IMAGE:TAG")
    daemon = command("daemon", _daemon, "act on a host's daemon alone; containers go on")
    daemon.add_argument("action", metavar="ACTION", choices=["restart", "kill", "stop", "start"])
    daemon.add_argument("host", metavar="HOST")


def run(args: argparse.Namespace) -> int:
    """Carry out what was parsed; the exit code. Expected failures leave as SwarmError."""
    # `su` without a dash keeps a path without ip and nft.
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    layout.check_machine()
    handler: Handler = args.lab_handler
    return handler(args)


def _say(line: str) -> None:
    print(line, flush=True)


def _up(args: argparse.Namespace) -> int:
    publish = tuple(layout.parse_publish(text) for text in args.publish)
    planned = layout.plan(
        args.name,
        managers=args.managers,
        workers=args.workers,
        daemon=not args.no_daemon,
        publish=publish,
    )
    lab = Lab.create(planned, _say)
    first = planned.hosts[0].name
    if planned.daemon:
        if not args.no_swarm:
            swarm.form(lab, _say)
        _say(f"export PYSWARM_HOST={planned.socket(first)}")
    return 0


def _down(args: argparse.Namespace) -> int:
    layout.check_name(args.name)
    try:
        found = layout.load(args.name)
    except SwarmError:
        # `up` may have died before its description was written: whatever bears the name goes.
        found = layout.Layout(name=args.name, hosts=())
    stays = machine.remove(found)
    if stays:
        raise FailedPrecondition(f"lab {args.name} could not be removed whole: {stays[0]} stays")
    return 0


def _ls(args: argparse.Namespace) -> int:
    states = [asdict(state) for state in Lab.open(args.name).states()]
    if args.format == "json":
        _say(json.dumps(states, indent=1))
        return 0
    columns = ["name", "address", "role", "state", "containerd", "daemon", "socket"]
    rows = [[column.upper() for column in columns]]
    rows += [[str(state[column]) for column in columns] for state in states]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        _say("   ".join(cells).rstrip())
    return 0


def _check_member(lab: Lab, name: str) -> None:
    """NotFound unless `name` is a host, or the hub, which is one for exec and logs."""
    if name != layout.HUB:
        lab.layout.host(name)


def _exec(args: argparse.Namespace) -> int:
    lab = Lab.open(args.name)
    _check_member(lab, args.host)
    argv = [word for index, word in enumerate(args.argv) if index or word != "--"]
    sys.stdout.flush()
    command = host.enter_argv(lab.layout, args.host, argv or ["sh"])
    os.execvp(command[0], command)


def _logs(args: argparse.Namespace) -> int:
    lab = Lab.open(args.name)
    _check_member(lab, args.host)
    usual = "daemon" if lab.layout.daemon else "containerd"
    program = args.program or ("registry" if args.host == layout.HUB else usual)
    path = str(lab.layout.state / args.host / "log" / f"{program}.log")
    if not os.path.exists(path):
        raise FailedPrecondition(f"{program} on {args.host} has not written a log yet")
    sys.stdout.flush()
    follow = ["-F"] if args.follow else []
    os.execvp("tail", ["tail", "-n", str(args.tail), *follow, path])


def _start(args: argparse.Namespace) -> int:
    Lab.open(args.name).start(args.host)
    return 0


def _stop(args: argparse.Namespace) -> int:
    Lab.open(args.name).stop(args.host)
    return 0


def _kill(args: argparse.Namespace) -> int:
    Lab.open(args.name).kill(args.host)
    return 0


def _heal(args: argparse.Namespace) -> int:
    Lab.open(args.name).heal(args.host)
    return 0


def _partition(args: argparse.Namespace) -> int:
    Lab.open(args.name).partition(args.host, args.others)
    return 0


def _push(args: argparse.Namespace) -> int:
    lab = Lab.open(args.name)
    _say(f"{args.reference} {lab.push(Path(args.directory), args.reference)}")
    return 0


def _daemon(args: argparse.Namespace) -> int:
    lab = Lab.open(args.name)
    lab.layout.host(args.host)
    if args.action == "restart":
        lab.restart_daemon(args.host)
    elif args.action == "kill":
        lab.kill_daemon(args.host)
    else:
        lab.hold_daemon(args.host, down=args.action == "stop")
    return 0
