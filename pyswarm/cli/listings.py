"""Records to listings with the columns and placeholders of Docker's command line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pyswarm.cli.node_view import NodeFacts, more_values
from pyswarm.cli.render import (
    Listing,
    Row,
    ago,
    clean,
    natural_key,
    short_id,
    title,
)
from pyswarm.cli.spec_changes import changes, summary
from pyswarm.compose import NAMESPACE_LABEL
from pyswarm.model import (
    Config,
    Network,
    Node,
    PortConfig,
    PublishMode,
    Revision,
    Secret,
    Service,
    Task,
)

ERROR_LENGTH_MAX: Final = 30
CHANGES_LENGTH_MAX: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedService:
    """A service with the tasks that run and that should run."""

    service: Service
    running: int
    desired: int
    completed: int = 0

    @property
    def replicas(self) -> str:
        """Docker's column: `2/3 (max 1 per node)`; of a job `0/1 (3/5 completed)`."""
        count, spec = f"{self.running}/{self.desired}", self.service.spec
        if spec.mode.is_job:
            total = spec.replicas
            if spec.mode.is_global:
                total = self.desired + self.completed
            return f"{count} ({self.completed}/{total} completed)"
        most = spec.task.placement.max_replicas
        return f"{count} (max {most} per node)" if most else count


def nodes(
    found: Iterable[Node], self_id: str, facts: Mapping[str, NodeFacts] | None = None
) -> Listing:
    """`node ls`; a star marks the node that was asked. `facts` are for `--format`, by node id."""
    rows = []
    for node in sorted(found, key=lambda n: (natural_key(n.hostname), n.id)):
        is_self = node.id == self_id
        values = {
            "ID": node.id,
            "Hostname": node.hostname,
            "Status": title(node.status.state.name),
            "Availability": title(node.spec.availability.name),
            "ManagerStatus": _manager_status(node),
            "EngineVersion": node.description.engine_version,
        }
        star = f"{node.id} {'*' if is_self else ' '}"
        cells = (star, *list(values.values())[1:])
        more = more_values(node, (facts or {}).get(node.id, NodeFacts()))
        rows.append(Row(node.id, cells, {**values, **more, "Self": is_self}))
    headers = ("ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ENGINE VERSION")
    return Listing(headers, tuple(rows))


def _manager_status(node: Node) -> str:
    if not node.manager:
        return ""
    if node.manager.leader:
        return "Leader"
    return title(node.manager.reachability.name)


def image_name(image: str) -> str:
    """The image without the digest that was pinned, where a name is left."""
    name = image.partition("@")[0]
    return name or image


def ports_text(ports: Iterable[PortConfig]) -> str:
    """Ingress ports, neighbours as ranges: `*:8080-8081->80-81/tcp`."""
    published = sorted(
        (p.protocol, p.target_port - p.published_port, p.published_port, p.target_port)
        for p in ports
        if p.published_port and p.publish_mode == PublishMode.INGRESS
    )
    texts: list[tuple[int, str]] = []
    # Neighbours keep the distance to their target and to their place in the list.
    keyed = ((index, port) for index, port in enumerate(published))
    for _, run in groupby(keyed, key=lambda item: (*item[1][:2], item[1][2] - item[0])):
        found = [port for _, port in run]
        (protocol, _, low, target), (_, _, high, target_high) = found[0], found[-1]
        left, right = _span(low, high), _span(target, target_high)
        texts.append((low, f"*:{left}->{right}/{protocol.name.lower()}"))
    return ", ".join(text for _, text in sorted(texts))


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}-{high}"


def services(found: Iterable[CountedService]) -> Listing:
    """`service ls` and `stack services`."""
    rows = []
    for counted in sorted(found, key=lambda c: natural_key(c.service.spec.name)):
        service = counted.service
        values = {
            "ID": short_id(service.id),
            "Name": service.spec.name,
            "Mode": service.spec.mode.word,
            "Replicas": counted.replicas,
            "Image": image_name(service.spec.task.container.image),
            "Ports": ports_text(service.endpoint.ports or service.spec.endpoint.ports),
        }
        rows.append(Row(short_id(service.id), tuple(values.values()), values))
    return Listing(("ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS"), tuple(rows))


def revisions(
    found: Sequence[Revision], current: int, now: float, *, full: bool = False
) -> Listing:
    """`service history`, newest first; `found` is oldest first, a star marks the present one."""
    rows = []
    for index, revision in enumerate(found):
        before = found[index - 1].spec if index else None
        changed = changes(before, revision.spec) if before else [summary(revision.spec)]
        text = ", ".join(changed)
        if not full and len(text) > CHANGES_LENGTH_MAX:
            text = text[: CHANGES_LENGTH_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"
        number = str(revision.number)
        values = {
            "Revision": number,
            "CreatedAt": ago(revision.meta.created_at, now),
            "Changes": text,
            "Cause": revision.cause,
        }
        is_current = revision.number == current
        star = f"{number} {'*' if is_current else ' '}"
        cells = (star, *list(values.values())[1:])
        rows.append(Row(number, cells, {**values, "Current": is_current}))
    return Listing(("REVISION", "CREATED", "CHANGES", "CAUSE"), tuple(reversed(rows)))


def task_name(task: Task) -> str:
    """`web.1`, or `web.NODE` for a task of a global service."""
    return f"{task.service_name}.{task.slot or task.node_id}"


def _error(text: str, full: bool) -> str:
    text = clean(text)
    if not text:
        return ""
    if not full and len(text) > ERROR_LENGTH_MAX:
        text = text[: ERROR_LENGTH_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return f'"{text}"'


def tasks(
    found: Iterable[Task], node_names: Mapping[str, str], now: float, *, full: bool = False
) -> Listing:
    """`service ps`, `node ps`, `stack ps`: newest first in each slot, older ones marked ` \\_ `.

    `node_names` may be empty, which shows ids; `full` cuts neither ids, images nor errors.
    """
    rows = []
    seen = ""
    newest_first = sorted(found, key=lambda t: (-t.meta.created_at, t.id))
    for task in sorted(newest_first, key=lambda t: natural_key(task_name(t))):
        name = task_name(task)
        image = task.spec.container.image
        age = ago(task.status.timestamp, now)
        values = {
            "ID": task.id if full else short_id(task.id),
            "Name": name,
            "Image": image if full else image_name(image),
            "Node": node_names.get(task.node_id, task.node_id),
            "DesiredState": title(task.desired_state.name),
            "CurrentState": f"{title(task.status.state.name)} {age.lower()}".rstrip(),
            "Error": _error(task.status.error, full),
            "Ports": _task_ports(task),
        }
        shown = rf" \_ {name}" if name == seen else name
        cells = (values["ID"], shown, *list(values.values())[2:])
        rows.append(Row(values["ID"], cells, values))
        seen = name
    headers = ("ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE", "ERROR", "PORTS")
    return Listing(headers, tuple(rows))


def _task_ports(task: Task) -> str:
    ports = sorted(task.status.ports, key=lambda p: (p.published_port, p.protocol))
    return ",".join(
        f"*:{p.published_port}->{p.target_port}/{p.protocol.name.lower()}" for p in ports
    )


def networks(found: Iterable[Network], *, full: bool = False) -> Listing:
    """`network ls`."""
    rows = []
    for network in sorted(found, key=lambda n: (natural_key(n.spec.name), n.id)):
        object_id = network.id if full else short_id(network.id)
        values: dict[str, str] = {
            "ID": object_id,
            "Name": network.spec.name,
            "Driver": network.spec.driver or "overlay",
            "Scope": "swarm",
        }
        more = {
            "Internal": str(network.spec.internal).lower(),
            "Labels": _labels(network.spec.labels),
        }
        rows.append(Row(object_id, tuple(values.values()), values | more))
    return Listing(("NETWORK ID", "NAME", "DRIVER", "SCOPE"), tuple(rows))


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels))


def payloads(kind: type[Secret | Config], found: Sequence[Secret | Config], now: float) -> Listing:
    """`secret ls` and `config ls`; never the content. Docker's columns, and the version after them.

    A secret's driver is that of a plugin, of which there is none here.
    """
    driver = {"Driver": ""} if kind is Secret else {}
    rows = []
    for item in sorted(found, key=lambda i: natural_key(i.spec.name)):
        values = {
            "ID": item.id,
            "Name": item.spec.name,
            **driver,
            "CreatedAt": ago(item.meta.created_at, now),
            "UpdatedAt": ago(item.meta.updated_at, now),
            "Version": str(item.version),
        }
        more = {"Labels": _labels(item.spec.labels)}
        rows.append(Row(item.id, tuple(values.values()), values | more))
    headers = ("ID", "NAME", *map(str.upper, driver), "CREATED", "UPDATED", "VERSION")
    return Listing(headers, tuple(rows))


def stacks(found: Iterable[Service]) -> Listing:
    """`stack ls`, from all services."""
    counts: dict[str, int] = {}
    for service in found:
        name = service.spec.labels.get(NAMESPACE_LABEL, "")
        if name:
            counts[name] = counts.get(name, 0) + 1
    rows = []
    for name in sorted(counts, key=natural_key):
        values = {"Name": name, "Services": str(counts[name])}
        rows.append(Row(name, tuple(values.values()), values))
    return Listing(("NAME", "SERVICES"), tuple(rows))
