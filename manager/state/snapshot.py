"""The whole state as bytes, and back: equal states have equal bytes.

    snapshot = magic, part*                     each part one value in MessagePack
    parts    = {version, epoch, sequence, layout, counts}, specs, then chunks of each table
    specs    = the task specs, as rows
    chunk    = up to 500 rows, sorted by id

Rows and their layout are those of `pyswarm.wire.rows`. A task spec is written once, and
read back as one object, however many services and tasks have it; in its place they have its number,
in the order of first use. It is made in small pieces, so that
the event loop goes on beside the thread that makes it; only the pieces' join is one longer call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import msgpack

from manager.state.apply import build
from manager.state.tables import KINDS, Record, View
from pyswarm.errors import DataLoss
from pyswarm.model import ServiceSpec, Task, TaskSpec
from pyswarm.wire import rows

MAGIC: Final = b"pyswarm state 2\n"

_CHUNK_ROWS: Final = 500
_SPECS: Final = ((Task, "spec"), (ServiceSpec, "task"))
"""Where task specs lie: there rows have the spec's number."""

_BAD: Final = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError),
    msgpack.OutOfData,
)
"""What reading raises for bytes that are no snapshot."""


def encode_snapshot(view: View) -> bytes:
    """The state as bytes; pure on an immutable value, so any thread may do it."""
    specs = _Specs()
    writers = rows.Writers(dict.fromkeys(_SPECS, specs.number))
    pack = msgpack.Packer(autoreset=True).pack
    tables = []
    for kind in KINDS.values():
        write = writers.of(kind)
        records = view.tables[kind]
        tables += [
            pack([write(records[each]) for each in ids]) for ids in _chunks(_sorted(records))
        ]
    head = {
        "version": view.version,
        "epoch": view.epoch,
        "sequence": view.sequence,
        "layout": rows.layout_of(KINDS.values()),
        "counts": [len(view.tables[kind]) for kind in KINDS.values()],
    }
    return b"".join([MAGIC, pack(head), pack(specs.rows), *tables])


class _Specs:
    """The task specs of a snapshot, each once."""

    def __init__(self) -> None:
        self.rows: list[rows.Row] = []
        self._numbers: dict[rows.Row, int] = {}
        self._by_identity: dict[int, int] = {}
        self._write = rows.Writers().of(TaskSpec)

    def number(self, spec: TaskSpec) -> int:
        """The place of a spec in `rows`, where it is put if it is new."""
        # The view keeps every spec alive meanwhile, so an identity means one object.
        number = self._by_identity.get(id(spec))
        if number is None:
            row = self._write(spec)
            number = self._by_identity[id(spec)] = self._numbers.setdefault(row, len(self.rows))
            if number == len(self.rows):
                self.rows.append(row)
        return number


def _chunks(ids: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(ids, _CHUNK_ROWS)):
        yield chunk


def _sorted(ids: Any) -> Iterator[str]:
    """All ids in order, without one long call: by their first characters, then each group."""
    groups: dict[str, list[str]] = {}
    for each in ids:
        groups.setdefault(each[:2], []).append(each)
    for start in sorted(groups):
        yield from sorted(groups[start])


def decode_snapshot(data: bytes) -> View:
    """The state back from its bytes; raises DataLoss where they are not a snapshot."""
    if not data.startswith(MAGIC):
        raise DataLoss("this is not a snapshot that this version of pyswarm can read")
    try:
        return _decode(data)
    except _BAD as error:
        raise DataLoss("the snapshot ends early or is damaged") from error


def _decode(data: bytes) -> View:
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=len(data))
    unpacker.feed(memoryview(data)[len(MAGIC) :])
    head = unpacker.unpack()
    layout = head["layout"]
    read_spec = rows.Readers(layout).of(TaskSpec)
    specs = [read_spec(row) for row in unpacker.unpack()]
    readers = rows.Readers(layout, dict.fromkeys(_SPECS, specs.__getitem__))
    tables: dict[type[Record], dict[str, Any]] = {}
    for kind, count in zip(KINDS.values(), head["counts"], strict=True):
        read = readers.of(kind)
        table = tables[kind] = {}
        while len(table) < count:
            table |= {record.id: record for record in map(read, unpacker.unpack())}
    view = build(tables)
    view.version, view.epoch, view.sequence = head["version"], head["epoch"], head["sequence"]
    return view


Capture = Callable[[], bytes]
"""Encodes the state of the moment at which it was made."""
