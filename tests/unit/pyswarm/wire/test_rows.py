"""Rows to a reader that knows other fields than the writer, and what they share (the way there and
back of any record is in `test_codec`)."""

import dataclasses

import msgpack
import pytest

from pyswarm import model
from pyswarm.errors import DataLoss
from pyswarm.wire import rows


def packed(row):
    return msgpack.unpackb(msgpack.packb(row), use_list=False)


def test_equal_records_have_equal_rows():
    whole, real = model.Meta(created_at=1), model.Meta(created_at=1.0)
    write = rows.Writers().of(model.Meta)
    assert msgpack.packb(write(whole)) == msgpack.packb(write(real))
    one = model.Task(service_labels={"a": "1", "b": "2"})
    other = model.Task(service_labels={"b": "2", "a": "1"})
    write = rows.Writers().of(model.Task)
    assert msgpack.packb(write(one)) == msgpack.packb(write(other))


def test_a_field_that_was_not_written_has_its_default_and_an_unknown_one_is_left_out():
    layout = rows.layout_of([model.Meta]) | {"Meta": ("created_at", "colour", "version")}
    read = rows.Readers(layout).of(model.Meta)
    assert read((5.0, "red", 7)) == model.Meta(created_at=5.0, version=7, updated_at=0.0)


def test_strings_and_mappings_that_repeat_are_one_object():
    write = rows.Writers().of(model.Task)
    read = rows.Readers(rows.layout_of([model.Task])).of(model.Task)
    task = model.Task(service_id="s" * 25, service_labels={"a": "1"})
    first, second = (read(packed(write(task))) for _ in range(2))
    assert first.service_id is second.service_id
    assert first.service_labels is second.service_labels


def test_what_stands_instead_of_a_field_is_asked_both_ways():
    field = (model.Task, "spec")
    row = rows.Writers({field: lambda spec: spec.force_update}).of(model.Task)(
        model.Task(id="t", spec=model.TaskSpec(force_update=9))
    )
    readers = rows.Readers(
        rows.layout_of([model.Task]), {field: lambda number: model.TaskSpec(force_update=number)}
    )
    assert readers.of(model.Task)(row).spec.force_update == 9


def test_a_type_without_a_layout_is_refused():
    with pytest.raises(DataLoss, match="no layout of Meta"):
        rows.Readers({}).of(model.Meta)


def test_the_layout_names_what_lies_within():
    layout = rows.layout_of([model.Task])
    assert layout["Meta"] == tuple(f.name for f in dataclasses.fields(model.Meta))
    assert {"TaskSpec", "ContainerSpec", "Mount", "Healthcheck"} <= layout.keys()
