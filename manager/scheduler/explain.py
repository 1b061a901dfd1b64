"""Why a task is where it is, or why it is nowhere: for one who asks. Pure, and read from a view, so
it may be worked out in another thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from manager.placement.constraint import descriptor_value
from manager.placement.volumes import Homes
from manager.scheduler.backlog import waits
from manager.scheduler.filters import refusing, summary
from manager.scheduler.fleet import strategy_of
from manager.scheduler.nodeinfo import NodeInfo, SpecKey, survey
from manager.state import View
from pyswarm.model import Node, PlacementStrategy, Service, Task, TaskState, is_terminal

NAMES_MAX: Final = 10
"""Nodes that are named for one reason."""

REASONS_MAX: Final = 20
CANDIDATES_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nodes that the same refuses, each rule that does in `reason`: some by name, and how many in
    all."""

    reason: str
    nodes: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that could have the task, and what its rank comes from."""

    node: str
    reason: str
    here: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """`sentence` is the whole in short; the lists are cut, and the counts are of what they were
    cut from. `nodes` counts all nodes."""

    task: Task
    sentence: str
    candidates: tuple[Candidate, ...] = ()
    candidate_count: int = 0
    refusals: tuple[Refusal, ...] = ()
    refusal_count: int = 0
    nodes: int = 0


def find(view: View, ref: str) -> Task:
    """The task meant by its id, name or id prefix, by SERVICE.SLOT (the slot's newest), or by its
    service (the first that waits, else the newest); raises NotFound or InvalidArgument."""
    found = view.get(Task, ref)
    if found is not None:
        return found
    name, dot, number = ref.rpartition(".")
    by_slot = bool(dot) and number.isdigit()
    service = view.by_name(Service, name if by_slot else ref)
    tasks = view.tasks_of_service(service.id) if service is not None else []
    if by_slot:
        tasks = [task for task in tasks if task.slot == int(number)]
    if not tasks:
        return view.resolve(Task, ref)
    return max(tasks, key=lambda task: (waits(task), task.meta.created_at, task.id))


def explain(view: View, task: Task, now: float) -> Explanation:
    """Where the task could be, and what is wrong with each other node, as the cluster is now."""
    if is_terminal(task.status.state):
        return Explanation(task, f"it has ended ({task.status.state.name.lower()})")
    if task.status.state == TaskState.NEW:
        why = task.status.error or "it waits for its addresses"
        return Explanation(task, f"no node is looked for yet: {why}")
    infos = [_without(view, node, task) for node in view.list(Node)]
    placed = bool(task.node_id) and task.status.state >= TaskState.ASSIGNED
    asked = [info for info in infos if placed or task.node_id in ("", info.node.id)]
    names = _names(infos)
    good, refusals = [], dict[str, list[str]]()
    home = Homes(view).of(task)
    for info in asked:
        reasons = [rule.detail(task, info) for rule in refusing(task, info)]
        if home is not None and home.node_id != info.node.id:
            reasons.append(home.reason)
        if reasons:
            refusals.setdefault("; ".join(reasons), []).append(names[info.node.id])
        else:
            good.append(info)
    ranked = _ranked(good, task, now)
    groups = sorted(refusals.items(), key=lambda item: (-len(item[1]), item[0]))
    return Explanation(
        task,
        _sentence(task, names, asked, ranked, now),
        tuple(
            Candidate(names[info.node.id], why, placed and info.node.id == task.node_id)
            for info, why in _shown(ranked, task)
        ),
        len(ranked),
        tuple(
            Refusal(reason, tuple(sorted(nodes)[:NAMES_MAX]), len(nodes))
            for reason, nodes in groups[:REASONS_MAX]
        ),
        len(groups),
        len(infos),
    )


def _without(view: View, node: Node, task: Task) -> NodeInfo:
    info = survey(view, node, strategy_of(view))
    info.release(task.id)
    return info


def _names(infos: Sequence[NodeInfo]) -> dict[str, str]:
    """Node id -> host name, with the id where a name is not the only one."""
    seen: dict[str, int] = {}
    for info in infos:
        seen[info.node.hostname] = seen.get(info.node.hostname, 0) + 1
    return {
        info.node.id: info.node.hostname
        if seen[info.node.hostname] == 1
        else f"{info.node.hostname} ({info.node.id})"
        for info in infos
    }


def _sentence(
    task: Task,
    names: dict[str, str],
    asked: Sequence[NodeInfo],
    ranked: Sequence[tuple[NodeInfo, str]],
    now: float,
) -> str:
    if task.node_id and task.status.state >= TaskState.ASSIGNED:
        node = names.get(task.node_id, task.node_id)
        places = [info.node.id for info, _ in ranked]
        if task.node_id not in places:
            return f"it is on {node}, which would not be chosen today"
        place = places.index(task.node_id) + 1
        return f"it is on {node}, which is number {place} of {len(places)} that could have it now"
    if task.start_after > now:
        return f"it waits {task.start_after - now:.0f} s more for its restart delay"
    if ranked:
        return f"it goes to {names[ranked[0][0].node.id]} in a moment"
    return summary(task, asked)


def _ranked(infos: Sequence[NodeInfo], task: Task, now: float) -> list[tuple[NodeInfo, str]]:
    """The nodes as they would be chosen, with the words: the branches with the fewest tasks of the
    service first, then the rank."""
    key: SpecKey = (task.service_id, task.spec_version)
    descriptors = task.spec.placement.spread
    on: dict[tuple[str, ...], int] = {}
    paths = {
        info.node.id: tuple(descriptor_value(info.node, each).lower() for each in descriptors)
        for info in infos
    }
    for info in infos:
        for depth in range(1, len(descriptors) + 1):
            path = paths[info.node.id][:depth]
            on[path] = on.get(path, 0) + info.by_service.get(task.service_id, 0)

    def rank(info: NodeInfo) -> tuple[object, ...]:
        path = paths[info.node.id]
        spread = info.strategy == PlacementStrategy.SPREAD
        own = info.by_service.get(task.service_id, 0) if spread else 0
        branches = [(on[path[:depth]], path[:depth]) for depth in range(1, len(path) + 1)]
        return (branches, info.penalty(key, now), own, info.order, info.node.id)

    found = []
    for info in sorted(infos, key=rank):
        path = paths[info.node.id]
        words = [
            f"{_count(on[path[: depth + 1]], 'task')} of the service where {each} is "
            f"{path[depth] or 'not set'}"
            for depth, each in enumerate(descriptors)
        ]
        if failures := info.failures(key, now):
            words.append(f"{_count(failures, 'task')} of it failed here lately")
        if info.strategy == PlacementStrategy.BINPACK:
            words.append(f"{info.load_permille / 10:g}% reserved, the fullest first")
        else:
            own = info.by_service.get(task.service_id, 0)
            words.append(f"{_count(own, 'other task')} of the service, {info.tasks} in all")
        found.append((info, ", ".join(words)))
    return found


def _shown(ranked: Sequence[tuple[NodeInfo, str]], task: Task) -> Sequence[tuple[NodeInfo, str]]:
    """The first, and the task's own node even where it is further down."""
    own = [each for each in ranked[CANDIDATES_MAX:] if each[0].node.id == task.node_id]
    return [*ranked[:CANDIDATES_MAX], *own]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
