"""The last events are kept, within bounds; filters let through what their words mean."""

import pytest

from manager.events.derive import Event
from manager.events.ring import EventRing, check, matches
from pyswarm.errors import InvalidArgument


def event(number, object_id="x", kind="service", action="update", labels=(), **attributes):
    return Event(
        type=kind,
        action=action,
        id=object_id,
        attributes=attributes,
        labels=dict(labels),
        time=float(number),
        version=number,
        place=0,
    )


def kept(ring):
    return [each.version for each in ring.all()]


def test_an_object_keeps_its_last_ones():
    ring = EventRing(per_object=3)
    for number in range(5):
        ring.add(event(number))
    ring.add(event(9, "y"))
    assert kept(ring) == [2, 3, 4, 9]


def test_the_many_tasks_do_not_push_out_what_happened_to_a_node():
    ring = EventRing(per_type=10)
    ring.add(event(0, "n1", "node"))
    for number in range(1, 1000):
        ring.add(event(number, f"t{number}", "task"))
    assert kept(ring) == [0, *range(990, 1000)]
    assert len(ring) == 11


def test_both_bounds_hold_together():
    ring = EventRing(per_object=2, per_type=5)
    for number in range(100):
        ring.add(event(number, f"t{number % 4}", "task"))
    assert kept(ring) == list(range(95, 100))


TASK = event(
    1,
    "t1abc",
    "task",
    "failed",
    {"tier": "front"},
    **{"name": "web.1.t1abc", "service": "web", "service.id": "s1", "node": "w1", "node.id": "n1"},
)


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"type": ["task"]}, True),
        ({"type": ["node", "task"]}, True),
        ({"type": ["node"]}, False),
        ({"event": ["failed"]}, True),
        ({"event": ["failed"], "type": ["node"]}, False),
        ({"service": ["web"]}, True),
        ({"service": ["s1"]}, True),
        ({"service": ["we"]}, False),
        ({"node": ["w1"]}, True),
        ({"node": ["w2"]}, False),
        ({"task": ["web.1"]}, True),
        ({"task": ["t1a"]}, True),
        ({"task": ["web.2"]}, False),
        ({"label": ["tier"]}, True),
        ({"label": ["tier=front"]}, True),
        ({"label": ["tier=back"]}, False),
        ({"scope": ["swarm"]}, True),
        ({"scope": ["local"]}, False),
        ({"secret": ["web"]}, False),
    ],
)
def test_a_filter_means_what_it_says(filters, passes):
    check(filters)
    assert matches(TASK, filters) is passes


def test_a_filter_that_does_not_exist_is_refused():
    with pytest.raises(InvalidArgument, match="invalid filter 'colour'"):
        check({"colour": ["red"]})
