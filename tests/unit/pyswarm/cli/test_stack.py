"""`pyswarm stack` against a swarm that has nothing."""

import asyncio

from pyswarm.api.v1 import control_pb2
from pyswarm.cli.main import build_parser


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
