"""`pyswarm inspect` finds an object of whatever kind by its name."""

import asyncio
import json
from argparse import Namespace

import pytest

from pyswarm.api.v1 import control_pb2, objects_pb2, volumes_pb2
from pyswarm.cli import inspecting
from pyswarm.errors import NotFound
from pyswarm.model import Service, ServiceSpec, Volume, VolumeSpec
from pyswarm.wire import to_message


class Swarm:
    """A connection to a swarm that has one service `web`, and volumes `web` and `data`."""

    def __init__(self):
        self.control, self.volumes = self, self

    async def call(self, answer):
        return await answer

    async def GetService(self, request):
        if request.ref == "web":
            return to_message(Service(id="s1", spec=ServiceSpec(name="web")))
        raise NotFound(request.ref)

    async def GetVolume(self, request):
        if request.ref in ("web", "data"):
            volume = Volume(id="v1", spec=VolumeSpec(name=request.ref))
            return volumes_pb2.VolumeInUse(volume=to_message(volume), services=["web"])
        raise NotFound(request.ref)

    async def ListNodes(self, request):
        return control_pb2.NodeList(nodes=[objects_pb2.Node(id="n1")])

    async def _missing(self, request):
        raise NotFound(request.ref)

    GetTask = GetNode = GetNetwork = GetSecret = GetConfig = _missing


def inspect(capsys, *refs, kind=None):
    args = Namespace(refs=refs, type=kind, format="json")
    code = asyncio.run(inspecting._inspect(args, Swarm()))
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_volume_is_found_and_says_who_uses_it(capsys):
    code, [shown], _ = inspect(capsys, "data")
    assert (code, shown["Name"], shown["Driver"]) == (0, "data", "local")
    assert shown["UsedBy"]["Services"] == ["web"]


def test_of_two_kinds_with_one_name_the_type_chooses(capsys):
    _, [service], _ = inspect(capsys, "web")
    assert (service["ID"], service["Spec"]["Name"]) == ("s1", "web")
    _, [volume], _ = inspect(capsys, "web", kind="volume")
    assert (volume["ID"], volume["Name"]) == ("v1", "web")


@pytest.mark.parametrize("kind", [None, "volume", "network"])
def test_what_is_nowhere_is_named_and_the_rest_is_shown(capsys, kind):
    code, _, error = inspect(capsys, "nothing", "data", kind=kind)
    assert code == 1
    assert error.startswith("Error: no such object: nothing\n")
