"""Secrets and configs of a container that goes on running are replaced: what its programs see."""

import asyncio
import os
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.assignments import Assignments
from agent.executor.driver import Executor
from agent.mounts.driver import TaskFiles
from agent.runtime import exchange
from pyswarm.daemon import interpreter
from pyswarm.errors import NotFound
from pyswarm.model import (
    Config,
    ContainerSpec,
    FileReference,
    Mount,
    MountType,
    NodeDescription,
    PayloadSpec,
    Secret,
    Task,
    TaskSpec,
)
from pyswarm.testing.containerd import wait_until

ID = "l" * 25
LINES = 1000
ROTATIONS = 50
CAN_GO_BENEATH = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 5)


def line(version):
    """Each of a file's lines, so that every part of it tells the version."""
    return f"version {version:090}"


def content(version):
    """Some 100 KB."""
    return f"{line(version)}\n".encode() * LINES


def table(pid):
    """What is mounted where `pid` lives."""
    return Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


class Live:
    """A task with one container, whose references follow to other versions, on a daemon that can
    be started anew."""

    def __init__(self, node, runtime, references, **wishes):
        self.node, self.runtime, self.wishes = node, runtime, wishes
        self.directory = node.stage.directory / "live"
        self.seen = self.directory / "seen"
        self.seen.mkdir(parents=True, exist_ok=True)
        for left in self.seen.iterdir():
            left.unlink()
        self.references = references
        self.assignments = Assignments()
        self.pid = 0
        self.start_daemon()
        self.turn_to(1)

    def start_daemon(self):
        self.files = TaskFiles(self.directory / "run", self.directory / "state")
        self.executor = Executor(
            containers=self.runtime,
            overlay=None,
            files=self.files,
            networks=None,
            assignments=self.assignments,
            node=lambda: NodeDescription(hostname="box"),
        )

    def turn_to(self, version):
        """The task refers to that version of everything, and it came."""
        for kind, known in ((Config, self.assignments.configs), (Secret, self.assignments.secrets)):
            known.clear()
            spec = PayloadSpec(name="file", data=content(version))
            known[f"{kind.__name__}{version}"] = kind(id=f"{kind.__name__}{version}", spec=spec)
        ours = {
            kind: tuple(
                replace(reference, id=f"{kind.__name__}{version}")
                for of, reference in self.references
                if of is kind
            )
            for kind in (Config, Secret)
        }
        container = ContainerSpec(
            image=self.node.image, secrets=ours[Secret], configs=ours[Config], **self.wishes
        )
        self.task = Task(id=ID, spec=TaskSpec(container=container))

    async def rotate(self, version):
        self.turn_to(version)
        assert self.files.is_stale(self.task)
        await self.executor.refresh(self.task)
        assert not self.files.is_stale(self.task)

    async def start(self):
        out = Mount(type=MountType.BIND, source=str(self.seen), target="/seen")
        mounts = await self.executor._prepare_files(self.task, self.task.spec.container)
        request = replace(
            self.node.request(mounts=[*mounts, out]), id=ID, container=self.task.spec.container
        )
        await self.runtime.create(request)
        self.pid = await self.runtime.start(ID)

    async def inside(self, text):
        _, said = await self.runtime.execute(ID, ["sh", "-c", text], 30.0)
        return said.decode().strip()

    def left(self):
        """Names of files that were replaced and are still there."""
        return [path.name for path in self.directory.glob("run/*/*/**/.*")]


@asynccontextmanager
async def living(node, *references, **wishes):
    before = table("self")
    async with node.runtime() as runtime:
        await runtime.pull(node.image)
        live = Live(node, runtime, references, **wishes)
        try:
            await live.start()
            yield live
        finally:
            await runtime.delete(ID)
            live.files.remove(ID)
    assert live.files.strays(frozenset()) == ()
    assert table("self") == before, "nothing is left mounted on the host"


def seen(live, name):
    path = live.seen / name
    return path.read_text().splitlines() if path.exists() else []


READER = """
read_on() {
    while true; do echo "$(uniq -c $1)" >> /seen/$2; done
}
trap 'head -n 1 /etc/conf.d/site.conf >> /seen/signals' HUP
read_on /etc/conf.d/site.conf config &
read_on /etc/tls/key.pem secret &
read_on /run/secrets/password shared &
while true; do wait; done
"""


@pytest.mark.parametrize("kernel", ["this", "old"])
def test_whoever_reads_has_wholly_one_version_and_is_told_when_the_next_is_there(
    node, kernel, monkeypatch
):
    if kernel == "old":
        monkeypatch.setattr(exchange, "_MOVE_MOUNT_BENEATH", 0x4000_0000)  # no kernel knows that

    async def scenario():
        async with living(
            node,
            (Config, FileReference(name="site", target="/etc/conf.d/site.conf", signal="SIGHUP")),
            (Secret, FileReference(name="key", target="/etc/tls/key.pem")),
            (Secret, FileReference(name="password")),
            command=("sh", "-c", READER),
        ) as live:
            wait_until(lambda: seen(live, "shared"), "it reads")
            at_first = len(table(live.pid))
            for version in range(2, ROTATIONS + 2):
                await live.rotate(version)
                last = line(version)
                await asyncio.to_thread(
                    wait_until,
                    lambda last=last: seen(live, "signals")[-1:] == [last],
                    f"it sees version {version} on its signal",
                )
            for name in ("config", "secret", "shared"):
                reads = [read.strip() for read in seen(live, name)]
                torn = [read for read in reads if not read.startswith(f"{LINES} version ")]
                assert torn == [], f"{name}: {len(torn)} of {len(reads)} reads"
                assert len(reads) > ROTATIONS
                versions = [int(read.rpartition(" ")[2]) for read in reads]
                assert versions == sorted(versions)
                assert len(set(versions)) > ROTATIONS / 2, "it read between the rotations"
            told = list(map(line, range(2, ROTATIONS + 2)))
            assert seen(live, "signals") == told
            if kernel == "this" and CAN_GO_BENEATH:
                assert (len(table(live.pid)), live.left()) == (at_first, [])
            else:
                assert len(table(live.pid)) == at_first + 2 * ROTATIONS
                assert len(live.left()) == 2 * ROTATIONS

    interpreter.run(scenario())


def test_a_file_keeps_owner_mode_and_flags_also_in_a_container_that_is_read_only(node):
    # The uppermost of its mounts: a kernel that cannot go beneath has one for each version.
    mount = "grep ' /bin/conf ' /proc/mounts | tail -n 1"
    look = f"stat -c '%u %g %a' /bin/conf; {mount}; touch /bin/conf 2>&1"

    async def scenario():
        reference = FileReference(
            name="conf", target="/bin/conf", uid="65534", gid="12", mode=0o540
        )
        async with living(
            node, (Config, reference), command=("sleep", "1000"), read_only=True
        ) as live:
            before = await live.inside(look)
            await live.rotate(2)
            assert await live.inside(look) == before
            assert before.startswith("65534 12 540\n")
            assert "Read-only file system" in before
            assert await live.inside("uniq /bin/conf") == line(2)

    interpreter.run(scenario())


def test_each_target_follows_and_so_it_does_after_restarts_of_the_daemon_and_back_again(node):
    def reference(target):
        return (Config, FileReference(name="conf", target=target))

    async def scenario():
        async with living(
            node, reference("/one"), reference("/two/file"), command=("sleep", "1000")
        ) as live:
            await live.rotate(2)
            assert await live.inside("uniq /one; uniq /two/file") == f"{line(2)}\n{line(2)}"
            live.start_daemon()
            assert not live.files.is_stale(live.task)

            # This one dies when it has written the files.
            live.turn_to(3)
            assert live.files.is_stale(live.task)
            configs = {"Config3": content(3)}
            live.files.refresh(live.task, live.task.spec.container, {}, configs, frozenset())
            assert await live.inside("uniq /one; uniq /two/file") == f"{line(2)}\n{line(2)}"
            live.start_daemon()
            await live.rotate(3)
            assert await live.inside("uniq /one; uniq /two/file") == f"{line(3)}\n{line(3)}"

            # This one when the container sees them.
            live.turn_to(1)
            container = live.task.spec.container
            configs = {"Config1": content(1)}
            changes = live.files.refresh(live.task, container, {}, configs, frozenset())
            await live.runtime.change_files(ID, changes)
            live.start_daemon()
            await live.rotate(1)
            assert await live.inside("uniq /one; uniq /two/file") == f"{line(1)}\n{line(1)}"
            assert live.left() == [] or not CAN_GO_BENEATH

    interpreter.run(scenario())


def test_a_link_in_the_container_leads_neither_to_the_host_nor_to_what_hides_it(node):
    outside = node.stage.directory / "outside"
    outside.mkdir()
    (outside / "keys").write_text("the host's")

    async def scenario():
        async with living(
            node,
            (Config, FileReference(name="keys", target="/etc/conf.d/keys")),
            (Config, FileReference(name="other", target="/etc/other")),
            command=("sleep", "1000"),
        ) as live:
            await live.inside(f"mv /etc/conf.d /etc/moved; ln -s {outside} /etc/conf.d")
            await live.rotate(2)
            assert (outside / "keys").read_text() == "the host's"
            await live.inside("rm /etc/conf.d; ln -s /proc /etc/conf.d")
            assert await live.inside("wc -c < /etc/conf.d/keys") == "0", "it is hidden"
            await live.rotate(3)
            assert await live.inside("wc -c < /proc/keys") == "0", "it still is"
            assert await live.inside("uniq /etc/other") == line(3), "the others follow"
            await live.inside("rm /etc/conf.d; mv /etc/moved /etc/conf.d")
            await live.rotate(4)
            assert await live.inside("uniq /etc/conf.d/keys") == line(4)

    interpreter.run(scenario())


def test_a_container_that_ended_is_told_to_have_done_so(node):
    async def scenario():
        async with living(
            node, (Config, FileReference(name="conf")), command=("sleep", "1000")
        ) as live:
            await live.runtime.kill(ID, "SIGKILL")
            await live.runtime.wait(ID)
            live.turn_to(2)
            with pytest.raises(NotFound):
                await live.executor.refresh(live.task)

    interpreter.run(scenario())
