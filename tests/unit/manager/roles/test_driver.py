"""The role manager at work, on virtual time."""

import asyncio
from types import SimpleNamespace

from manager.raft.membership import Member, Membership
from manager.raft.status import RaftStatus
from manager.roles.driver import RoleManager, RolesContext
from manager.state.driver import Store
from pyswarm.model import Node, NodeRole, NodeSpec
from pyswarm.testing.plane.loop import ProcessLoop, Timeline
from pyswarm.testing.store import InstantLog

LOOKS_MAX = 20


class StuckLog(InstantLog):
    """No majority answers any more once it is `stuck`."""

    stuck = False

    async def propose(self, data, timeout):
        if self.stuck:
            await asyncio.get_running_loop().create_future()
        return await super().propose(data, timeout)


class Raft:
    """The only manager leads, and counts how often it is asked."""

    raft_id = 1
    is_leader = True
    membership = Membership.of([Member(1, "boss", "boss:2377")])
    looks = 0

    def status(self):
        self.looks += 1
        assert self.looks < LOOKS_MAX, "it looks again and again, and nothing else happens"
        return RaftStatus(
            raft_id=1,
            role="leader",
            term=1,
            leader_id=1,
            commit=1,
            applied=1,
            first_index=1,
            last_index=1,
            snapshot_index=0,
        )


def test_a_node_whose_removal_is_under_way_does_not_keep_it_busy():
    timeline = Timeline()
    loop = ProcessLoop(timeline)
    log, raft = StuckLog(), Raft()
    store = log.store = Store(log, loop.time)
    context = RolesContext(
        store=store,
        raft=raft,
        pool=SimpleNamespace(),
        leader_address=lambda: "",
        said_goodbye=lambda node_id: None,
        clock=loop.wall,
    )

    removals = []  # of a task that waits for ever nobody else knows

    async def lead():
        # To be a worker, and a manager on record: the role is to be revoked.
        spec = NodeSpec(role=NodeRole.WORKER)
        await store.update(lambda tx: tx.put(Node(id="gone", spec=spec, role=NodeRole.MANAGER)))
        log.stuck = True
        removal = store.update(lambda tx: tx.delete(Node, "gone"))
        removals.append(loop.start(removal, "removal"))
        await asyncio.sleep(0)
        await RoleManager(context).run(store)

    leading = loop.start(lead(), "leader")
    timeline.run(5)
    assert not leading.done()
    assert [each.done() for each in removals] == [False]
    assert raft.looks > 2
