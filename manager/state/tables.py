"""The tables as one immutable value: a snapshot is a reference, and nobody needs a lock.

A `View` holds a persistent map (a hash array mapped trie, `immutables.Map`) for each kind of
record (of tasks two, see `tasks`), and secondary indexes beside them that `apply` keeps. Iterating
a persistent map follows hashes, which differ from process to process, so everything that leaves a
view is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from immutables import Map

from manager.state import query
from manager.state.ids import Ids
from manager.state.parts import Parts
from manager.state.tasks import Own, Tasks
from pyswarm.errors import NotFound
from pyswarm.model import (
    Cluster,
    Config,
    ExecRecord,
    Network,
    Node,
    Protocol,
    RegistryCredential,
    Revision,
    Secret,
    Service,
    Task,
    TaskState,
    Volume,
)

Record = (
    Node
    | Service
    | Task
    | Network
    | Secret
    | Config
    | Cluster
    | RegistryCredential
    | ExecRecord
    | Revision
    | Volume
)
R = TypeVar("R", bound=Record)

KINDS: Final[dict[int, type[Record]]] = {
    1: Cluster,
    2: Node,
    3: Network,
    4: Secret,
    5: Config,
    6: Service,
    7: Task,
    8: Volume,
    10: RegistryCredential,
    12: ExecRecord,
    14: Revision,
}
"""The number of each kind in the log and in snapshots; never used again for another kind."""

KIND_NUMBERS: Final[dict[type[Any], int]] = {kind: number for number, kind in KINDS.items()}

UNIQUE_NAMES: Final[frozenset[type[Any]]] = frozenset({Network, Secret, Config, Service, Volume})
"""Kinds in which a name, whatever its case, belongs to one record; of the versions of a secret or
config, to the newest."""

WAITING: Final = frozenset({TaskState.NEW, TaskState.PENDING})
"""States in which a task waits for a manager's planner; tasks in them have an index."""


def waiting_key(task: Task) -> tuple[str, str] | None:
    """Where a task stands in the index of those that wait; the others are in none."""
    state = task.status.state
    return (state.name, task.service_id) if state in WAITING else None


Rows = list
"""A list: inside `View` that word is the method."""


class View:
    """The whole state at one version; it never changes.

    `version` is the raft index of the last change set. `epoch` and `sequence` name that change
    set within the leader's chain (see `manager.state.changes`).
    """

    __slots__ = (
        "addresses",
        "epoch",
        "names",
        "node_tasks",
        "ports",
        "sequence",
        "tables",
        "version",
        "waiting",
    )

    def __init__(self) -> None:
        self.version = 0
        self.epoch = 0
        self.sequence = 0
        self.tables: Mapping[type[Any], Any] = {k: Map() for k in KINDS.values()} | {Task: Tasks()}
        self.names: Map[tuple[int, str], str] = Map()
        self.node_tasks: Map[str, Ids] = Map()
        self.waiting: Map[tuple[str, str], Ids] = Map()
        """State and service id -> ids: small maps, which are cheap to change."""
        self.addresses: Map[str, Parts[int, str]] = Map()
        """Network id -> address as a number -> id of the service or living task that has it."""
        self.ports: Map[tuple[Protocol, int], str] = Map()
        """Published ingress port -> id of the service that has it."""

    def copy(self) -> View:
        """A new value that starts equal; only `apply` writes to it, before anyone sees it."""
        new: View = object.__new__(View)
        new.version = self.version
        new.epoch = self.epoch
        new.sequence = self.sequence
        new.tables = self.tables
        new.names = self.names
        new.node_tasks = self.node_tasks
        new.waiting = self.waiting
        new.addresses = self.addresses
        new.ports = self.ports
        return new

    def get(self, kind: type[R], record_id: str) -> R | None:
        """The record of that id."""
        return self.tables[kind].get(record_id)  # type: ignore[no-any-return]

    def reader(self, kind: type[R]) -> Callable[[str], R | None]:
        """`get` of one kind, for many records."""
        table = self.tables[kind]
        return table.reader() if kind is Task else table.get  # type: ignore[no-any-return]

    def require(self, kind: type[R], record_id: str) -> R:
        """The record of that id; raises NotFound."""
        record: R | None = self.tables[kind].get(record_id)
        if record is None:
            raise NotFound(f"{query.word(kind)} {record_id} not found")
        return record

    def list(self, kind: type[R]) -> Rows[R]:
        """All records of a kind, sorted by id."""
        table = self.tables[kind]
        return [table[key] for key in sorted(table)]

    def count(self, kind: type[Record]) -> int:
        """How many records of a kind there are."""
        return len(self.tables[kind])

    @property
    def service_tasks(self) -> Map[str, Own]:
        """Service id -> its tasks by id; a service without tasks is not there."""
        found: Map[str, Own] = self.tables[Task].by_service
        return found

    def tasks_of_service(self, service_id: str) -> Rows[Task]:
        """The service's tasks, ended ones included, sorted by id."""
        own = self.service_tasks.get(service_id)
        return [own[key] for key in sorted(own)] if own else []

    def tasks_of_node(self, node_id: str) -> Rows[Task]:
        """The node's tasks, ended ones included, sorted by id."""
        table, ids = self.tables[Task], self.node_tasks.get(node_id)
        return [table[key] for key in sorted(ids)] if ids else []

    def tasks_in_state(self, state: TaskState) -> Rows[Task]:
        """The tasks that wait in NEW or PENDING, sorted by id."""
        assert state in WAITING, f"{state!r} has no index"
        return sorted(self.waiting_in(state), key=lambda task: task.id)

    def waiting_in(self, state: TaskState) -> Rows[Task]:
        """The tasks that wait in NEW or PENDING, in any order: for one who puts them in order."""
        assert state in WAITING, f"{state!r} has no index"
        found: Rows[Task] = []
        for (name, service_id), ids in self.waiting.items():
            if name == state.name:
                own = self.service_tasks[service_id]
                found += [own[key] for key in ids]
        return found

    def by_name(self, kind: type[R], name: str) -> R | None:
        """The record of that name; of several nodes with the host name, that of least id."""
        if kind in UNIQUE_NAMES:
            record_id = self.names.get((KIND_NUMBERS[kind], name.lower()))
            return None if record_id is None else self.tables[kind].get(record_id)
        found = query.named(self.list(kind), name)
        return found[0] if found else None

    def by_prefix(self, kind: type[R], prefix: str) -> Rows[R]:
        """The records whose id begins with `prefix`, sorted by id."""
        table = self.tables[kind]
        return [table[key] for key in sorted(k for k in table if k.startswith(prefix))]

    def resolve(self, kind: type[R], reference: str) -> R:
        """The record meant by a full id, else a full name, else an unambiguous start of an id.

        Raises NotFound, and InvalidArgument where several are meant.
        """
        record = self.get(kind, reference)
        if record is not None:
            return record
        if kind in UNIQUE_NAMES:
            record = self.by_name(kind, reference)
            if record is not None:
                return record
            named: Rows[R] = []
        else:
            named = query.named(self.list(kind), reference)
        prefixed = self.by_prefix(kind, reference) if reference and not named else []
        return query.only(kind, reference, named or prefixed)

    @property
    def cluster(self) -> Cluster | None:
        """The one cluster record, once the swarm has been made."""
        found = self.list(Cluster)
        return found[0] if found else None
