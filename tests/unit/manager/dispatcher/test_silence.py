"""Nodes that fall silent, on virtual time."""

from manager.dispatcher.replies.server import DispatcherContext
from manager.dispatcher.server import Dispatcher
from manager.state.driver import Store
from pyswarm.errors import Unavailable
from pyswarm.model import Cluster, Node, NodeState, NodeStatus
from pyswarm.testing.plane.loop import ProcessLoop, Timeline
from pyswarm.testing.store import InstantLog


def test_a_node_is_marked_down_although_the_first_try_to_write_it_failed():
    timeline = Timeline()
    loop = ProcessLoop(timeline)
    log = InstantLog()
    store = log.store = Store(log, loop.time)
    context = DispatcherContext(
        store=store,
        caller=lambda context: "node",
        leader_address=lambda: "",
        manager_addresses=list,
        new_id=lambda: "id",
        clock=loop.wall,
        monotonic=loop.time,
    )

    def found(tx):
        tx.put(Cluster(id="cluster"))
        tx.put(Node(id="node", status=NodeStatus(state=NodeState.READY)))

    async def lead():
        await store.update(found)
        await Dispatcher(context).open()
        log.refusals.append(Unavailable("the disk is full"))

    def state():
        return store.view.require(Node, "node").status.state

    loop.start(lead(), "leader")
    timeline.run(7.5)
    assert log.refusals == [], "the node was silent, and nobody tried to say so"
    assert state() == NodeState.READY
    timeline.run(20)
    assert state() == NodeState.DOWN
