"""A conversation: announced by the manager, opened by the node, ended by whoever goes first."""

import asyncio

import pytest

from manager.conversations.driver import Conversations
from pyswarm.api.v1 import dispatcher_pb2, observe_pb2
from pyswarm.errors import NotFound, SwarmError, Unavailable


class Node:
    """A node that is called w1; `announced` are the conversations that it was asked for."""

    def __init__(self):
        self.announced = []
        self.connected = True
        self.conversations = Conversations(self.send, lambda: f"c{len(self.announced)}")

    def send(self, node_id, conversation):
        if self.connected:
            self.announced.append(conversation.id)
        return self.connected

    def attend(self, answers, conversation_id="c0", node_id="n1"):
        async def stream():
            yield dispatcher_pb2.ConversationAnswer(conversation_id=conversation_id)
            async for answer in answers:
                yield answer

        return self.conversations.attend(node_id, stream())


def output(text):
    return dispatcher_pb2.ConversationAnswer(exec=observe_pb2.ExecOutput(stdout=text))


async def says(*texts):
    for text in texts:
        yield output(text)


def ask(text):
    return dispatcher_pb2.ConversationAsk(exec=observe_pb2.ExecInput(stdin=text))


def test_each_side_hears_the_other():
    async def told():
        node = Node()
        heard = asyncio.Event()

        async def answers():
            await heard.wait()
            yield output(b"one")
            yield output(b"two")

        async def attend():
            async for asked in node.attend(answers()):
                assert asked.exec.stdin == b"hello"
                heard.set()

        async with node.conversations.open("n1", "w1") as conversation:
            attending = asyncio.ensure_future(attend())
            await conversation.ask(ask(b"hello"))
            said = [answer.exec.stdout async for answer in conversation.answers()]
            await attending
        return said

    assert asyncio.run(told()) == [b"one", b"two"]


def test_a_node_without_a_session_is_named():
    async def told():
        node = Node()
        node.connected = False
        async with node.conversations.open("n1", "w1"):
            pass

    with pytest.raises(Unavailable, match="node w1 is not connected"):
        asyncio.run(told())


def test_a_node_that_goes_down_ends_its_conversations():
    async def told():
        node = Node()
        async with node.conversations.open("n1", "w1") as conversation:
            node.conversations.lost("n1", "no beat")
            return [answer async for answer in conversation.answers()]

    with pytest.raises(Unavailable, match="node w1 is down: no beat"):
        asyncio.run(told())


def test_another_node_cannot_attend():
    async def told():
        node = Node()
        async with node.conversations.open("n1", "w1"):
            return [ask async for ask in node.attend(says(b"x"), node_id="n2")]

    with pytest.raises(NotFound, match="this conversation is over"):
        asyncio.run(told())


def test_nobody_attends_what_was_never_announced():
    async def told():
        return [ask async for ask in Node().attend(says(b"x"), "made up")]

    with pytest.raises(NotFound):
        asyncio.run(told())


def test_a_refusal_reaches_whoever_asked():
    async def told():
        node = Node()

        async def answers():
            yield dispatcher_pb2.ConversationAnswer(failed="this node does not do that")

        async def attend():
            return [ask async for ask in node.attend(answers())]

        async with node.conversations.open("n1", "w1") as conversation:
            attending = asyncio.ensure_future(attend())
            try:
                return [answer async for answer in conversation.answers()]
            finally:
                attending.cancel()

    with pytest.raises(SwarmError, match="this node does not do that"):
        asyncio.run(told())


def test_a_slow_manager_holds_the_node_up():
    async def told():
        node, given = Node(), []

        async def answers():
            for number in range(100):
                given.append(number)
                yield output(b"x")

        async def attend():
            return [ask async for ask in node.attend(answers())]

        async with node.conversations.open("n1", "w1") as conversation:
            attending = asyncio.ensure_future(attend())
            for _ in range(500):
                await asyncio.sleep(0)
            at_first = len(given)
            said = [answer async for answer in conversation.answers()]
            await attending
        return at_first, len(said)

    at_first, said = asyncio.run(told())
    assert at_first < 10
    assert said == 100
