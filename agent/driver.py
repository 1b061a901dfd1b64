"""The agent of a node: runs what the managers assign, whether or not a manager answers.

It remembers tasks and endpoint sets on disk, so that after a restart it adopts what runs, answers
DNS and goes on with what it was told, before any manager is there. Managers come and go behind the
link; nothing that they do or fail to do touches a container, except an assignment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import grpc.aio

from agent.assignments import AssignmentNews, Assignments
from agent.client import Hello, LogsAsked
from agent.conversations.driver import Conversations
from agent.dependencies import missing
from agent.disk import WorkerState
from agent.endpoints.driver import NetworkKeeper
from agent.executor.containers import Containers
from agent.executor.driver import Executor
from agent.images.disk import VolumeFolders
from agent.images.driver import ImageKeeper, KeeperContext
from agent.images.store import ImageStore
from agent.leases import Leases
from agent.link.driver import Link, LinkSettings
from agent.livefiles.driver import LiveFiles
from agent.logs.driver import LogPublisher
from agent.mounts.driver import TaskFiles
from agent.networks import NetworkNews
from agent.nodecalls.driver import Answerer, Handler
from agent.overlay import Overlay
from agent.reconcile import Seen, reconcile
from agent.runner.driver import TaskRunner
from agent.task_events import Found
from agent.volumes.driver import VolumeKeeper
from pyswarm.aio import Backoff, Supervisor
from pyswarm.api.v1 import dispatcher_pb2
from pyswarm.core import NEVER
from pyswarm.crashpoints import reach
from pyswarm.errors import SwarmError
from pyswarm.model import Node, NodeDescription, Task, TaskState, TaskStatus, is_terminal

log = logging.getLogger(__name__)

RECONCILE_SECONDS: Final = 30.0
"""Between two looks at what really runs: the net under lost exits and forgotten containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """`problem` says why no task can run, in one sentence; empty where they can."""

    connected: bool
    manager: str
    tasks: Mapping[TaskState, int]
    problem: str = ""


class Agent:
    """One node's worker. `channels` answers the channel to a manager at "host:port"; `managers`
    the addresses that the daemon knows; the callbacks must not wait."""

    def __init__(
        self,
        node_id: str,
        *,
        runtime: Containers,
        overlay: Overlay,
        state_directory: Path,
        run_directory: Path,
        describe: Callable[[], NodeDescription],
        underlay_address: str,
        channels: Callable[[str], grpc.aio.Channel],
        managers: Callable[[], list[str]],
        on_managers: Callable[[list[str]], None] = lambda addresses: None,
        on_node: Callable[[Node], None] = lambda node: None,
        on_roots: Callable[[bytes, float], None] = lambda roots_pem, within_seconds: None,
        on_removed: Callable[[], None] = lambda: None,
        images: ImageStore | None = None,
    ) -> None:
        self.node_id = node_id
        self._overlay = overlay
        self._describe = describe
        self._managers = managers
        self._on_managers = on_managers
        self._on_node = on_node
        self._on_roots = on_roots
        self._on_removed = on_removed
        self._state = WorkerState(state_directory / "worker")
        self._unsaved: dict[str, Task] = {}
        self._files = TaskFiles(run_directory, state_directory)
        self._assignments = Assignments()
        self._held: frozenset[str] = frozenset()
        self._runners: dict[str, TaskRunner] = {}
        self._leases = Leases(self._state.contact(time.monotonic()))
        self._lease_news = asyncio.Event()
        self._problem = ""
        self._removed = False
        self._supervisor = Supervisor("agent")
        settings = LinkSettings(
            channels=channels,
            describe=describe,
            underlay_address=underlay_address,
            managers=self._known_managers,
            on_contact=self._leases.contact,
        )
        self._link = Link(settings, self)
        self._networks = NetworkKeeper(overlay, self._state, self._link.applied)
        self._executor = Executor(
            containers=runtime,
            overlay=overlay,
            files=self._files,
            networks=self._networks,
            node=describe,
            assignments=self._assignments,
        )
        self._conversations = Conversations(
            runtime, self._link.converse, lambda: list(self._assignments.tasks.values())
        )
        self._volumes = VolumeKeeper(self._files.volumes, self._link.report_volumes)
        self._live_files = LiveFiles(
            is_stale=self._files.is_stale,
            refresh=self._executor.refresh,
            current=self._ready_to_refresh,
        )
        self._images = self._keeper(images, state_directory) if images is not None else None
        self._answers = Answerer(_handlers(self._images), self._link.answer)
        self._logs = LogPublisher(runtime, self._link.publish, self._assignments.tasks.get)

    def _keeper(self, images: ImageStore, state_directory: Path) -> ImageKeeper:
        context = KeeperContext(
            tasks=self._tasks_now,
            informed=lambda: self._assignments.sequence > 0,
            discard=self._discard,
        )
        return ImageKeeper(images, VolumeFolders(state_directory), context)

    # ---- life ----

    async def start(self) -> None:
        """Adopt what runs and begin to work; raises SwarmError where the overlay cannot start.

        A runtime that does not answer is waited for in the background, and no session is opened
        before: managers must not send tasks to a node that cannot run them.
        """
        for task in self._state.tasks():
            self._assignments.tasks[task.id] = task
        await self._overlay.start()
        await self._networks.start()
        self._held = self._files.held()
        if not await self._adopt():
            self._supervisor.start(self._adopt_later(), "runtime")

    async def stop(self, goodbye: bool = False) -> None:
        """Stop working; containers go on. `goodbye` tells the managers that this is on purpose."""
        await self._link.stop(goodbye)
        await self._supervisor.close()
        await self._live_files.close()
        await self._logs.close()
        await self._conversations.close()
        await self._answers.close()
        for runner in list(self._runners.values()):
            await runner.close()
        self._save_all()
        await self._networks.stop()
        await self._overlay.stop()

    def reconnect(self, reason: str) -> None:
        """Open a new session: the channels of the old one end soon, or what the node shows and says
        of itself has changed."""
        self._link.renew(reason)

    async def clear(self) -> None:
        """Before leaving the swarm: remove every container, so that the managers may take their
        word for it that nothing runs here. Call it on a stopped agent."""
        await self._overlay.start()  # it stopped with the agent, and containers leave it in order
        for seen in await self._executor.list():
            await self._executor.discard(seen, logs=True)
        await self._overlay.stop()

    async def wipe(self) -> None:
        """After leaving the swarm: remove every container, network, secret and memory of it.
        Named volumes stay, as in Docker. Call it on a stopped agent."""
        await self._overlay.start()
        for seen in await self._executor.list():
            await self._executor.discard(seen, logs=True)
        for task_id in self._files.strays(frozenset()):
            self._files.remove(task_id)
        for task_id in self._files.forgotten(frozenset()):
            self._files.forget(task_id)
        await self._overlay.destroy()
        self._state.wipe()
        self._unsaved.clear()
        self._runners.clear()

    def status(self) -> AgentStatus:
        """How the agent stands."""
        states = Counter(runner.machine.status.state for runner in self._runners.values())
        return AgentStatus(
            connected=self._link.connected,
            manager=self._link.manager,
            tasks=dict(sorted(states.items())),
            problem=self._problem,
        )

    # ---- what runs ----

    async def _adopt(self) -> bool:
        try:
            seen = await self._executor.list()
        except SwarmError as error:
            if error.message != self._problem:
                log.error("no task can run on this node: %s", error.message)
            self._problem = error.message
            return False
        self._problem = ""
        plan = reconcile(self._assignments.tasks.keys(), seen)
        for stray in plan.strays:
            await self._remove_stray(stray.task_id, self._executor.discard(stray, logs=False))
            reach("agent.stray-removed")
        # An ended task whose container is gone needs no place either: the last agent died while it
        # cleaned up.
        alive = {t.id for t in self._assignments.tasks.values() if not is_terminal(t.status.state)}
        alive |= plan.adopt.keys()
        for task_id in sorted(set(self._overlay.attached()) - alive):
            await self._remove_stray(task_id, self._overlay.detach(task_id))
        for task_id in self._files.strays(frozenset(alive)):
            self._files.remove(task_id)
        for task_id in self._files.forgotten(frozenset(self._assignments.tasks)):
            self._files.forget(task_id)
        for task in list(self._assignments.tasks.values()):
            self._run(task, plan.adopt.get(task.id))
        self._supervisor.start(self._keep_leases(), "leases")
        self._link.start()
        self._supervisor.start(self._reconcile(), "reconcile")
        self._supervisor.start(self._volumes.run(), "volumes")
        if self._images is not None:
            self._supervisor.start(self._images.run(), "images")
        return True

    async def _adopt_later(self) -> None:
        backoff = Backoff(0.5, 5.0)
        adopted = False
        while not adopted:
            await asyncio.sleep(backoff.next())
            adopted = await self._adopt()

    async def _remove_stray(self, task_id: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
            log.info("removed what was left of task %s, which nobody wants here", task_id)
        except SwarmError as error:
            log.warning("a remainder of task %s stays for now: %s", task_id, error.message)

    async def _reconcile(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_SECONDS)
            up = {key for key, runner in self._runners.items() if runner.is_up}
            try:
                seen = await self._executor.list()
            except SwarmError as error:
                log.warning("cannot look at what runs: %s", error.message)
                continue
            plan = reconcile(self._runners.keys(), seen)
            for stray in plan.strays:
                if stray.task_id not in self._runners:
                    work = self._executor.discard(stray, logs=False)
                    await self._remove_stray(stray.task_id, work)
            for task_id in sorted(up - plan.adopt.keys() & self._runners.keys()):
                self._runners[task_id].lost()

    async def _keep_leases(self) -> None:
        saved = self._leases.contact_at
        while True:
            self._lease_news.clear()
            for task_id, seconds in self._leases.over(time.monotonic()).items():
                self._leases.drop(task_id)
                self._runners[task_id].lease_over(seconds)
            self._link.probe_every(self._leases.probe_seconds)
            deadline, contact_at = self._leases.deadline(), self._leases.contact_at
            if deadline != NEVER and contact_at != saved:
                try:
                    self._state.save_contact(contact_at)
                    saved = contact_at
                except OSError as error:
                    log.error("the last contact cannot be remembered: %s", error)
            left = None if deadline == NEVER else min(max(deadline - time.monotonic(), 0.0), 1.0)
            try:
                async with asyncio.timeout(left):
                    await self._lease_news.wait()
            except TimeoutError:
                continue

    def _tasks_now(self) -> dict[str, Task]:
        """Every assigned task as it is."""
        runners = self._runners.items()
        return {key: replace(each.task, status=each.machine.status) for key, each in runners}

    async def _discard(self, task_id: str) -> None:
        """Remove the container of a task that is not assigned any more."""
        if task_id not in self._runners:
            await self._executor.discard(Seen(task_id, task_id, False), logs=False)

    def _run(self, task: Task, found: Found | None = None, since: float = 0.0) -> None:
        # What has not begun and is only remembered waits until a manager has named it: after a
        # power cut the memory may be that of seconds before, and the task long over.
        runner = TaskRunner(
            task,
            self._executor,
            ready=self._assignments.sequence > 0 and not self._missing(task),
            on_status=self._on_status,
            on_gone=self._on_gone,
        )
        self._runners[task.id] = runner
        self._leases.take(task, since)
        self._lease_news.set()
        self._link.status(task.id, task.status)
        runner.begin(found)

    def _missing(self, task: Task) -> tuple[str, ...]:
        known = self._assignments
        return missing(task, known.secrets, known.configs, self._held)

    def _ready_to_refresh(self, task_id: str) -> Task | None:
        """The task, where it runs and its secrets and configs are here, also after a restart."""
        runner, known = self._runners.get(task_id), self._assignments
        if runner is None or not runner.is_up:
            return None
        return None if missing(runner.task, known.secrets, known.configs) else runner.task

    def _on_status(self, task: Task, status: TaskStatus) -> None:
        self._volumes.changed()
        if status.state == TaskState.RUNNING and self._ready_to_refresh(task.id) is not None:
            self._live_files.look(task)
        self._link.status(task.id, status)
        if not self._unsaved:
            # A task goes through several states at once, and only the last one is worth a file.
            asyncio.get_running_loop().call_soon(self._save_all)
        self._unsaved[task.id] = replace(task, status=status)

    def _save_all(self) -> None:
        unsaved, self._unsaved = self._unsaved, {}
        for task in unsaved.values():
            self._save(task)

    def _on_gone(self, task_id: str) -> None:
        self._unsaved.pop(task_id, None)
        self._runners.pop(task_id, None)
        self._leases.drop(task_id)
        self._lease_news.set()
        self._link.forget(task_id)
        self._state.drop_task(task_id)

    def _save(self, task: Task) -> None:
        self._unsaved.pop(task.id, None)
        try:
            self._state.save_task(task)
        except OSError as error:
            log.error("task %s cannot be remembered across a restart: %s", task.name, error)

    # ---- what the managers say ----

    def _known_managers(self) -> list[str]:
        return self._managers() or list(self._state.managers())

    def on_opened(self) -> None:
        """A new session begins: endpoint sets first, then complete assignments."""
        self._networks.begin_session()
        self._volumes.begin_session()

    def on_closed(self) -> None:
        """Nobody reads our logs any more."""
        self._logs.cancel_all()

    def on_removed(self) -> None:
        """The managers refuse this node for good; each try says so, and the first one counts."""
        if self._removed:
            return
        self._removed = True
        log.error("this node was removed from the swarm")
        self._on_removed()

    def on_hello(self, hello: Hello) -> None:
        """Remember who we are to the managers, and where they are."""
        try:
            self._state.save_managers(hello.manager_addresses)
            self._state.save_node(hello.node)
        except OSError as error:
            log.error("the managers' addresses cannot be remembered: %s", error)
        self._on_managers(list(hello.manager_addresses))
        self._on_node(hello.node)
        self._on_roots(hello.root_certificate, hello.renewal_spread_seconds)
        if self._images is not None and hello.images is not None:
            self._images.set_policy(hello.images)

    def on_networks(self, news: NetworkNews) -> bool:
        """Who is where."""
        return self._networks.take(news)

    def on_assignments(self, news: AssignmentNews) -> bool:
        """What to run."""
        change = self._assignments.apply(news)
        if change is None:
            return False
        if news.complete:
            self._networks.settle()
        for task in change.tasks:
            runner = self._runners.get(task.id)
            if runner is None:
                self._save(task)
                reach("agent.task-saved")
                self._run(task, since=time.monotonic())
            else:
                runner.update(task)
                self._save(replace(runner.task, status=runner.machine.status))
        for task_id in change.removed:
            if task_id in self._runners:
                self._runners[task_id].unassign()
        for runner in list(self._runners.values()):
            if not runner.machine.ready and not self._missing(runner.machine.task):
                runner.dependencies_ready()
            if self._ready_to_refresh(runner.task.id) is not None:
                self._live_files.look(runner.task)
        self._volumes.assigned(self._assignments.volumes.values())
        return True

    def on_logs(self, asked: LogsAsked) -> None:
        """Somebody wants to read logs."""
        self._logs.take(asked)

    def on_conversation(self, conversation_id: str) -> None:
        """A manager wants to talk."""
        self._conversations.take(conversation_id)

    def on_ask(self, ask: dispatcher_pb2.NodeAsk) -> None:
        """A manager wants to know or have something."""
        self._answers.take(ask)


def _handlers(images: ImageKeeper | None) -> dict[str, Handler]:
    """Who answers which question of a manager."""
    return {"disk_usage": images.disk_usage, "prune": images.prune} if images is not None else {}
