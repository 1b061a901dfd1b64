"""`pyswarm task`: explain, logs."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from google.protobuf.json_format import MessageToDict

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.commands import Parsers, command, group
from pyswarm.cli.connection import Connection
from pyswarm.cli.logs import add_log_options, find_tasks, logs_request, show_logs


def register(parsers: Parsers) -> None:
    """Add the commands."""
    task = group(parsers, "task", "Manage tasks")
    explain = command(task, "explain", "Tell why a task is where it is, or nowhere", _explain)
    explain.add_argument("--format", choices=("text", "json"), default="text", help="(text)")
    explain.add_argument("ref", metavar="TASK|SERVICE.SLOT|SERVICE")
    logs = command(task, "logs", "Fetch the logs of a task", _logs)
    add_log_options(logs)
    logs.add_argument("ref", metavar="TASK|SERVICE.SLOT")


async def _explain(args: Namespace, connection: Connection) -> int:
    request = control_pb2.Reference(ref=args.ref)
    call = connection.scheduling.ExplainTask(request)
    found = await connection.find("task or service", args.ref, call)
    if args.format == "json":
        print(json.dumps(MessageToDict(found, preserving_proto_field_name=True), indent=4))
    else:
        print("\n".join(explained(found)))
    return 0


async def _logs(args: Namespace, connection: Connection) -> int:
    request = await logs_request(args, connection)
    request.tasks.extend(await find_tasks(connection, args.ref, "task"))
    return await show_logs(args, connection, request)


def explained(found: Any) -> list[str]:
    """The lines of an explanation, a message of that name."""
    lines = [f"{found.task_name} ({found.task_id}): {found.sentence}"]
    if found.candidates:
        lines += ["", f"Could have it ({found.candidate_count} of {_nodes(found.nodes)}):"]
        for number, each in enumerate(found.candidates, 1):
            here = " (here)" if each.here else ""
            lines.append(f"  {number}. {each.node}{here}: {each.reason}")
        if found.candidate_count > len(found.candidates):
            lines.append(f"  ... and {found.candidate_count - len(found.candidates)} more")
    if found.refusals:
        lines += ["", "Refused:"]
        for each in found.refusals:
            more = each.count - len(each.nodes)
            names = ", ".join(each.nodes) + (f" and {_nodes(more)} more" if more else "")
            lines.append(f"  {names}: {each.reason}")
        if found.refusal_count > len(found.refusals):
            lines.append(f"  ... and {found.refusal_count - len(found.refusals)} other reasons")
    return lines


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"
