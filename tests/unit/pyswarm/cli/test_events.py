import json

from pyswarm.api.v1 import observe_pb2
from pyswarm.cli.events import event_json, event_line

EVENT = observe_pb2.Event(
    type="service",
    action="update",
    id="s1",
    attributes={"name": "web", "image.new": "web:2\x1b[2J"},
    time=1_700_000_000.25,
)


def test_a_line_has_its_attributes_in_order_and_moves_no_cursor():
    assert event_line(EVENT).endswith(" service update s1 (image.new=web:2\ufffd[2J, name=web)")


def test_json_is_that_of_dockers_api():
    values = json.loads(event_json(EVENT))
    assert values["Actor"] == {"ID": "s1", "Attributes": dict(EVENT.attributes)}
    assert (values["Type"], values["Action"], values["scope"]) == ("service", "update", "swarm")
    assert (values["time"], values["timeNano"]) == (1_700_000_000, 1_700_000_000_250_000_000)
