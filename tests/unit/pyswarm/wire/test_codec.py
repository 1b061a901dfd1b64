"""Every record and its message agree, and what is written is read back equal."""

import dataclasses
import typing
from collections.abc import Mapping
from enum import IntEnum

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyswarm import model
from pyswarm.api.v1 import objects_pb2
from pyswarm.errors import InvalidArgument
from pyswarm.wire import decode, encode, message_type, rows

RECORDS = sorted(
    (kind for kind in vars(model).values() if dataclasses.is_dataclass(kind)),
    key=lambda kind: kind.__name__,
)
STORED = [model.Node, model.Service, model.Task, model.Network, model.Secret, model.Cluster]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_record_and_its_message_have_the_same_fields(kind):
    fields = {f.name for f in dataclasses.fields(kind)}
    assert fields == set(message_type(kind).DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(
    "kind",
    sorted(
        (k for k in vars(model).values() if isinstance(k, type) and issubclass(k, IntEnum)),
        key=lambda kind: kind.__name__,
    ),
    ids=lambda kind: kind.__name__,
)
def test_an_enum_has_the_same_numbers_on_the_wire(kind):
    wire = objects_pb2.DESCRIPTOR.enum_types_by_name[kind.__name__]
    prefix = wire.values[0].name.removesuffix(kind(0).name)
    assert {v.name.removeprefix(prefix): v.number for v in wire.values} == {
        member.name: int(member) for member in kind
    }


def records(kind):
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{f.name: values(hints[f.name]) for f in dataclasses.fields(kind)})


def values(hint):
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(st.text(max_size=4), values(arguments[1]), max_size=2)
    if type(None) in arguments:
        return st.none() | values(next(a for a in arguments if a is not type(None)))
    if dataclasses.is_dataclass(hint):
        return records(hint)
    if issubclass(hint, IntEnum):
        return st.sampled_from(hint)
    return {
        str: st.text(max_size=8),
        int: st.integers(-(2**63), 2**63 - 1),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
        bytes: st.binary(max_size=8),
    }[hint]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STORED).flatmap(records))
def test_what_is_written_is_read_back_equal(record):
    kind = type(record)
    assert decode(kind, encode(record)) == record
    row = msgpack.packb(rows.Writers().of(kind)(record))
    read = rows.Readers(rows.layout_of([kind])).of(kind)
    assert read(msgpack.unpackb(row, use_list=False)) == record


def test_defaults_that_are_not_zero_survive():
    spec = model.ServiceSpec(replicas=0)
    assert decode(model.ServiceSpec, encode(spec)).replicas == 0
    assert decode(model.ServiceSpec, encode(model.ServiceSpec())).replicas == 1


def test_bytes_that_are_no_record_are_refused():
    with pytest.raises(InvalidArgument, match="not a Task"):
        decode(model.Task, b"\xff\xff\xff")


def test_an_unknown_enum_number_is_refused():
    message = objects_pb2.NodeSpec(availability=9)
    with pytest.raises(InvalidArgument, match="NodeSpec"):
        decode(model.NodeSpec, message.SerializeToString())
