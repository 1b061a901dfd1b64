"""The whole state as bytes, and back: equal states have equal bytes.

    snapshot = magic, part*                     each part one value in MessagePack
    parts    = {version, epoch, sequence, layout, counts}, specs, then chunks of each table
    counts   = {number of a kind: its records}; a later version knows more kinds
    specs    = {digest: row} of the task specs, sorted
    chunk    = up to 500 rows, sorted by id; of tasks, all whose ids begin alike

Rows and their layout are those of `pyswarm.wire.rows`. A task spec is written once, and
read back as one object, however many services and tasks have it; in its place they have its digest.
So a task's row depends on nothing but the task, and is kept for the next snapshot (`TaskRows`).
No call of a snapshot is long, so that the event loop goes on beside the thread that makes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from hashlib import blake2b
from itertools import chain, islice
from typing import Any, Final

import msgpack

from manager.state.apply import Building
from manager.state.tables import KINDS, Record, View
from manager.state.tasks import Own, Tasks
from pyswarm.errors import DataLoss
from pyswarm.model import ServiceSpec, Task, TaskSpec
from pyswarm.wire import rows

MAGIC: Final = b"pyswarm state 3\n"

_CHUNK_ROWS: Final = 500
_JOINED_ROWS: Final = 4096
_PREFIX: Final = 2
_DIGEST_BYTES: Final = 16
_SPECS: Final = ((Task, "spec"), (ServiceSpec, "task"))
"""Where task specs lie: there rows have the spec's digest."""

_BAD: Final = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError),
    msgpack.OutOfData,
)
"""What reading raises for bytes that are no snapshot."""


class TaskRows:
    """The packed rows of all tasks, kept from one snapshot to the next: a later one then costs
    what has changed, and not what is there.

    In groups by the first characters of the ids, so that no call is long.
    """

    def __init__(self) -> None:
        self._tasks = Tasks()
        self._groups: defaultdict[str, dict[str, bytes]] = defaultdict(dict)

    def update(
        self,
        tasks: Tasks,
        write: Callable[[Task], rows.Row],
        pack: Callable[[rows.Row], bytes],
    ) -> None:
        """Be the rows of these tasks; a task that is the object of last time has the row of last
        time. Of no use any more where it failed."""
        before, groups, grown = self._tasks, self._groups, set()
        former: list[Task | Own | None] = [*before.by_service.values()]
        for service_id, own in tasks.by_service.items():
            known = before.by_service.get(service_id, {})
            for task_id, task in own.items() if own is not known else ():
                old = known.get(task_id)
                if old is not task:
                    former.append(old)
                    group = groups[task_id[:_PREFIX]]
                    if task_id not in group:
                        grown.add(task_id[:_PREFIX])
                    group[task_id] = pack(write(task))
        if sum(map(len, groups.values())) > len(tasks):
            for start, group in list(groups.items()):
                former += [before.get(each) for each in group if each not in tasks]
                groups[start] = {each: group[each] for each in group if each in tasks}
                if not groups[start]:
                    del groups[start]
        for start in grown:
            groups[start] = dict(sorted(groups[start].items()))
        self._tasks = before = tasks
        while former:
            former.pop()  # one by one: to free what ten thousand tasks were would be a long call

    def chunks(self) -> Iterator[bytes]:
        """All rows in the order of the ids: a chunk for each group, many joined."""
        packer, parts = msgpack.Packer(), list[bytes]()
        for start in sorted(self._groups):
            group = self._groups[start]
            parts += [packer.pack_array_header(len(group)), *group.values()]
            if len(parts) >= _JOINED_ROWS:
                yield b"".join(parts)
                parts = []
        yield b"".join(parts)


def encode_snapshot(view: View) -> bytes:
    """The state as bytes; pure on an immutable value, so any thread may do it."""
    return encode_again(view, TaskRows())


def encode_again(view: View, rows_of_tasks: TaskRows) -> bytes:
    """The same bytes, made faster with the rows of an earlier call; they become those of `view`."""
    pack = msgpack.Packer(autoreset=True).pack
    specs = _Specs(pack)
    writers = rows.Writers(dict.fromkeys(_SPECS, specs.digest))
    tables: dict[type[Record], Iterable[bytes]] = {}
    for kind in KINDS.values():
        records, write = view.tables[kind], writers.of(kind)
        if kind is Task:
            specs.gather(records)
            rows_of_tasks.update(records, write, pack)
            tables[kind] = rows_of_tasks.chunks()
        else:
            tables[kind] = [pack([write(records[e]) for e in ids]) for ids in _chunks(records)]
    head = {
        "version": view.version,
        "epoch": view.epoch,
        "sequence": view.sequence,
        "layout": _layout(),
        "counts": {number: len(view.tables[kind]) for number, kind in KINDS.items()},
    }
    packed = [MAGIC, pack(head), pack(dict(sorted(specs.rows.items())))]
    # A long call; but from 1 MiB on it lets the other threads go on while it copies.
    return b"".join(chain(packed, *tables.values()))


@cache
def _layout() -> rows.Layout:
    return rows.layout_of(KINDS.values())


@cache
def _spec_writer() -> Callable[[TaskSpec], rows.Row]:
    return rows.Writers().of(TaskSpec)


class _Specs:
    """The task specs of a snapshot, each once."""

    def __init__(self, pack: Callable[[Any], bytes]) -> None:
        self.rows: dict[bytes, rows.Row] = {}
        self._pack = pack
        self._by_identity: dict[int, bytes] = {}
        self._write = _spec_writer()

    def gather(self, tasks: Tasks) -> None:
        """Take in the specs of tasks of which not all are written anew."""
        for own in tasks.by_service.values():
            for spec in {id(task.spec): task.spec for task in own.values()}.values():
                self.digest(spec)

    def digest(self, spec: TaskSpec) -> bytes:
        """The digest of a spec, which is put into `rows` if it is new."""
        # The view keeps every spec alive meanwhile, so an identity means one object.
        digest = self._by_identity.get(id(spec))
        if digest is None:
            row = self._write(spec)
            digest = blake2b(self._pack(row), digest_size=_DIGEST_BYTES).digest()
            self._by_identity[id(spec)] = digest
            self.rows[digest] = row
        return digest


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(sorted(ids))
    while chunk := list(islice(waiting, _CHUNK_ROWS)):
        yield chunk


def decode_snapshot(data: bytes) -> View:
    """The state back from its bytes; raises DataLoss where they are not a snapshot."""
    if not data.startswith(MAGIC):
        raise DataLoss("this is not a snapshot that this version of pyswarm can read")
    try:
        return _decode(data)
    except _BAD as error:
        raise DataLoss("the snapshot ends early or is damaged") from error


def _decode(data: bytes) -> View:
    # The counts have numbers for keys.
    unpacker = msgpack.Unpacker(use_list=False, strict_map_key=False, max_buffer_size=len(data))
    unpacker.feed(memoryview(data)[len(MAGIC) :])
    head = unpacker.unpack()
    layout = head["layout"]
    read_spec = rows.Readers(layout).of(TaskSpec)
    specs = {digest: read_spec(row) for digest, row in unpacker.unpack().items()}
    readers = rows.Readers(layout, dict.fromkeys(_SPECS, specs.__getitem__))
    building = Building()
    for number, count in head["counts"].items():
        kind = KINDS[number]
        read = readers.of(kind)
        while count > 0:
            records = list(map(read, unpacker.unpack()))
            building.take(kind, records)
            count -= len(records)
    view = building.finish()
    if any(view.count(KINDS[number]) != count for number, count in head["counts"].items()):
        raise ValueError("other records than were counted")
    view.version, view.epoch, view.sequence = head["version"], head["epoch"], head["sequence"]
    return view


Capture = Callable[[], bytes]
"""Encodes the state of the moment at which it was made."""
