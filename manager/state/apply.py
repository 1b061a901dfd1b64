"""One change on one view: the only code that writes tables and indexes.

Deterministic: the same view and the same change give the same view on every manager. What must
never be (a name, an address or a port with two owners) is refused here, which means: before it is
proposed, since a transaction applies each change to its own view at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeVar

from immutables import Map

from manager.state.changes import Delete, Put
from manager.state.ids import Ids, exchanged
from manager.state.parts import Parts
from manager.state.query import name_of, word
from manager.state.tables import KIND_NUMBERS, UNIQUE_NAMES, WAITING, Record, View, waiting_key
from manager.state.tasks import BEGINNING, Tasks, beginning
from pyswarm.errors import AlreadyExists, NotFound
from pyswarm.model import (
    Config,
    Network,
    Protocol,
    PublishMode,
    Secret,
    Service,
    Task,
    TaskState,
    is_terminal,
)

Outer = TypeVar("Outer")
Key = TypeVar("Key")
Value = TypeVar("Value")
Nested = defaultdict[Outer, dict[Key, Value]]
Blocks = Nested[int, int, str]
Ports = tuple[tuple[Protocol, int], ...]
_LAST_WAITING: Final = max(WAITING)


def apply_change(view: View, change: Put | Delete) -> View:
    """The view after one change of one record; raises AlreadyExists or NotFound."""
    new = view.copy()
    if isinstance(change, Put):
        _put(new, change.record)
    else:
        _delete(new, change.kind, change.id)
    return new


class Building:
    """The view of many records, as if each had been put: for a whole state at once.

    There may be 100,000 tasks while a manager starts. So they are looked at as they are read, when
    the processor still has them at hand, and without a call for most.
    """

    def __init__(self) -> None:
        self._tables: dict[type[Any], dict[str, Any]] = {kind: {} for kind in KIND_NUMBERS}
        self._services: Nested[str, str, str] = defaultdict(dict)
        self._by_service: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        self._by_node: defaultdict[str, list[str]] = defaultdict(list)
        self._waiting: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._held: defaultdict[str, Blocks] = defaultdict(partial(defaultdict, dict))

    def take(self, kind: type[Any], records: Sequence[Any]) -> None:
        """Take records of a kind."""
        if kind is Task:
            self._take_tasks(records)
        else:
            self._tables[kind].update((record.id, record) for record in records)

    def _take_tasks(self, tasks: Sequence[Task]) -> None:
        services, by_service, by_node = self._services, self._by_service, self._by_node
        held, last = self._held, TaskState.RUNNING
        for task in tasks:
            task_id, service_id = task.id, task.service_id
            services[task_id[:BEGINNING]][task_id] = service_id
            by_service[service_id][task_id] = task
            if task.node_id:
                by_node[task.node_id].append(task_id)
            state = task.status.state
            if state <= _LAST_WAITING and state in WAITING:
                self._waiting[state.name, service_id].append(task_id)
            if state <= last:
                for attachment in task.networks:
                    if attachment.address:
                        number = number_of(attachment.address)
                        held[attachment.network_id][number >> BLOCK_BITS][number] = task_id

    def finish(self) -> View:
        """The view of all that was taken; to be called once."""
        view, held = View(), self._held
        view.names = Map(
            {
                (KIND_NUMBERS[kind], name_of(record).lower()): record_id
                for kind in UNIQUE_NAMES
                for record_id, record in sorted(
                    self._tables[kind].items(), key=lambda item: _age(item[1])
                )
            }
        )
        services: list[Service] = list(self._tables[Service].values())
        for service in services:
            for network_id, address in _service_addresses(service):
                number = number_of(address)
                held[network_id][number >> BLOCK_BITS][number] = service.id
        tasks = Tasks(Parts(beginning, self._services), Map(self._by_service))
        view.tables = {
            kind: tasks if kind is Task else Map(records) for kind, records in self._tables.items()
        }
        view.node_tasks = Map({key: tuple(ids) for key, ids in self._by_node.items()})
        view.waiting = Map({key: tuple(ids) for key, ids in self._waiting.items()})
        view.addresses = Map({key: Parts(block, parts) for key, parts in held.items()})
        view.ports = Map({key: service.id for service in services for key in _ports(service)})
        return view


def _put(view: View, record: Record) -> None:
    kind = record.__class__
    table = view.tables[kind]
    old: Any = table.get(record.id)
    if kind in UNIQUE_NAMES:
        _claim_name(view, kind, old, record)
    if isinstance(record, Task):
        _index_task(view, old, record)
    elif isinstance(record, Service):
        _index_service(view, old, record)
    view.tables = {**view.tables, kind: table.set(record.id, record)}


def _delete(view: View, kind: type[Record], record_id: str) -> None:
    table = view.tables[kind]
    old = table.get(record_id)
    if old is None:
        raise NotFound(f"{word(kind)} {record_id} not found")
    if kind in UNIQUE_NAMES:
        key = (KIND_NUMBERS[kind], name_of(old).lower())
        # An older version of a secret or config has its name no more.
        if view.names.get(key) == record_id:
            view.names = view.names.delete(key)
    if kind is Task:
        _index_task(view, old, None)
    elif kind is Service:
        _index_service(view, old, None)
    elif kind is Network and record_id in view.addresses:
        view.addresses = view.addresses.delete(record_id)
    view.tables = {**view.tables, kind: table.delete(record_id)}


def _claim_name(view: View, kind: type[Record], old: Any, record: Record) -> None:
    name = name_of(record)
    if old is not None and name_of(old) == name:
        return
    number = KIND_NUMBERS[kind]
    owner = view.names.get((number, name.lower()))
    holder = view.tables[kind].get(owner) if owner is not None else None
    if holder is not None and holder.id != record.id and _age(record) <= _age(holder):
        raise AlreadyExists(f"{word(kind)} {name} already exists")
    if old is not None:
        view.names = view.names.delete((number, name_of(old).lower()))
    view.names = view.names.set((number, name.lower()), record.id)


def _age(record: Any) -> int:
    """The version of a secret or config: the newest has the name."""
    return record.version if isinstance(record, Secret | Config) else 0


def _move(index: Map[Key, Ids], record_id: str, old: Key | None, new: Key | None) -> Map[Key, Ids]:
    """The index with the record under `new` and no longer under `old`."""
    if old == new:
        return index
    if old:
        rest = exchanged(index[old], (record_id,), ())
        index = index.set(old, rest) if rest else index.delete(old)
    if new:
        index = index.set(new, exchanged(index.get(new, ()), (), (record_id,)))
    return index


BLOCK_BITS: Final = 8


def block(address: int) -> int:
    """Where an address lies: with 255 others."""
    return address >> BLOCK_BITS


_NO_ADDRESSES: Parts[int, str] = Parts(block)


def _index_task(view: View, old: Task | None, new: Task | None) -> None:
    record_id = new.id if new is not None else old.id if old is not None else ""
    node = (old.node_id if old else None, new.node_id if new else None)
    view.node_tasks = _move(view.node_tasks, record_id, *node)
    was = waiting_key(old) if old else None
    now = waiting_key(new) if new else None
    if was != now:
        view.waiting = _move(view.waiting, record_id, was, now)
    before, after = task_addresses(old), task_addresses(new)
    if before != after:
        _index_addresses(view, record_id, before, after)


def _index_service(view: View, old: Service | None, new: Service | None) -> None:
    record_id = new.id if new is not None else old.id if old is not None else ""
    before, after = _service_addresses(old), _service_addresses(new)
    if before != after:
        _index_addresses(view, record_id, before, after)
    was, now = _ports(old), _ports(new)
    if was == now:
        return
    for key in was:
        view.ports = view.ports.delete(key)
    for key in now:
        owner = view.ports.get(key)
        if owner is not None:
            raise AlreadyExists(f"port {key[1]}/{key[0].name.lower()} is in use by another service")
        view.ports = view.ports.set(key, record_id)


def _ports(service: Service | None) -> Ports:
    if service is None:
        return ()
    return tuple(
        (port.protocol, port.published_port)
        for port in service.endpoint.ports
        if port.publish_mode == PublishMode.INGRESS and port.published_port
    )


Addresses = tuple[tuple[str, str], ...]


def task_addresses(task: Task | None) -> Addresses:
    """What a task holds; an ended task gives its addresses back and keeps their words only."""
    if task is None or is_terminal(task.status.state):
        return ()
    return tuple((a.network_id, a.address) for a in task.networks if a.address)


def _service_addresses(service: Service | None) -> Addresses:
    if service is None:
        return ()
    return tuple((v.network_id, v.address) for v in service.endpoint.virtual_ips)


def _index_addresses(view: View, owner: str, before: Addresses, after: Addresses) -> None:
    for network_id, address in before:
        taken = view.addresses.get(network_id)
        # The network may have gone before its last address: then so has this part of the index.
        if taken is not None and taken.get(number_of(address)) == owner:
            rest = taken.delete(number_of(address))
            left = view.addresses.delete(network_id)
            view.addresses = left.set(network_id, rest) if rest else left
    for network_id, address in after:
        taken = view.addresses.get(network_id, _NO_ADDRESSES)
        holder = taken.get(number_of(address))
        if holder is not None and holder != owner:
            raise AlreadyExists(f"address {address} of network {network_id} is taken by {holder}")
        view.addresses = view.addresses.set(network_id, taken.set(number_of(address), owner))


def number_of(address: str) -> int:
    """ "10.0.1.2/24" as a number, without its prefix."""
    a, b, c, d = address.partition("/")[0].split(".")
    return _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]


_OCTETS = {str(number): number for number in range(256)}
"""By the only way in which it is written: quicker than reading it."""
