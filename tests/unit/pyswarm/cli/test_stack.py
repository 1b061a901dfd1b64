"""`pyswarm stack` against a swarm that has nothing, and one that does not hold still."""

import asyncio
from dataclasses import replace

import pytest

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.main import build_parser
from pyswarm.cli.sequence import ATTEMPTS_MAX
from pyswarm.cli.stack import carry_out
from pyswarm.compose import Action, Kind, Plan, Step
from pyswarm.errors import SequenceConflict
from pyswarm.model import (
    ContainerSpec,
    Meta,
    Mount,
    Service,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateOrder,
)
from pyswarm.wire import from_message, to_message


class Nothing:
    def __init__(self):
        self.control = self

    async def call(self, answer):
        return await answer

    def __getattr__(self, name):
        async def lists(request):
            return getattr(control_pb2, f"{name.removeprefix('List').removesuffix('s')}List")()

        return lists


def test_a_stack_that_is_not_there_is_said_once_and_is_no_failure(capsys):
    args = build_parser().parse_args(["stack", "rm", "shop", "blog"])
    assert asyncio.run(args.run(args, Nothing())) == 0
    said = capsys.readouterr()
    assert said.err == "Nothing found in stack: shop\nNothing found in stack: blog\n"
    assert said.out == ""


class Restless:
    """A swarm with one service, which the managers write to after each of its first reads."""

    def __init__(self, writes):
        self.control = self
        self.writes = writes
        forced = TaskSpec(force_update=3)
        self.service = Service(
            id="w1", meta=Meta(version=7), spec=ServiceSpec(name="web", task=forced)
        )

    async def call(self, answer):
        return await answer

    async def find(self, what, ref, answer):
        return await answer

    async def GetService(self, request):
        read = to_message(self.service)
        if self.writes:
            self.writes -= 1
            self.put(self.service.spec)
        return read

    async def UpdateService(self, request):
        if request.version != self.service.meta.version:
            raise SequenceConflict("update out of sequence")
        self.put(from_message(ServiceSpec, request.spec))
        return to_message(self.service)

    def put(self, spec):
        meta = replace(self.service.meta, version=self.service.meta.version + 1)
        self.service = replace(self.service, meta=meta, spec=spec)


UPDATE = Plan(
    steps=(
        Step(
            action=Action.UPDATE,
            kind=Kind.SERVICE,
            name="web",
            id="w1",
            spec=ServiceSpec(name="web", replicas=5),
        ),
    )
)


def test_a_service_that_the_managers_write_to_meanwhile_is_deployed_all_the_same():
    """An update that began before ends while the stack is deployed: the record has a new version,
    and nobody wants anything else."""
    swarm = Restless(writes=2)
    updated = asyncio.run(carry_out(swarm, UPDATE))
    assert swarm.service.spec.replicas == 5
    assert swarm.service.spec.task.force_update == 3, "it is not the file's to say"
    assert updated == {"w1": swarm.service}


def test_a_service_that_never_holds_still_is_given_up():
    with pytest.raises(SequenceConflict):
        asyncio.run(carry_out(Restless(writes=ATTEMPTS_MAX), UPDATE))


def test_a_deploy_warns_of_what_an_update_makes_dangerous(capsys):
    container = ContainerSpec(mounts=(Mount(source="data", target="/data"),))
    update = UpdateConfig(order=UpdateOrder.START_FIRST)
    (step,) = UPDATE.steps
    task = TaskSpec(container=container)
    step = replace(step, spec=ServiceSpec(name="web", task=task, update=update))
    swarm = Restless(writes=0)
    asyncio.run(carry_out(swarm, Plan(steps=(step,))))
    assert "write to the volume data" in capsys.readouterr().err
    asyncio.run(carry_out(swarm, Plan(steps=(step,))))
    assert capsys.readouterr().err == "", "it is known by now"
