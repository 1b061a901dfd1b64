"""Secrets on a real tmpfs; needs root."""

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from agent.mounts.driver import TaskFiles
from pyswarm.model import ContainerSpec, FileReference, Task, TaskSpec

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a tmpfs"),
]

ID = "s" * 25
CONTAINER = ContainerSpec(
    secrets=(
        FileReference(id="1", name="password", uid="33", gid="33", mode=0o400),
        FileReference(id="2", name="key", target="/etc/key"),
    )
)
TASK = Task(id=ID, spec=TaskSpec(container=CONTAINER))


@pytest.fixture
def files(tmp_path):
    made = TaskFiles(tmp_path / "run", tmp_path / "state")
    yield made
    made.remove(ID)


def mounted(path):
    return any(line.split()[4].startswith(str(path)) for line in open("/proc/self/mountinfo"))


def test_secrets_are_in_memory_read_only_with_owner_and_mode(files, tmp_path):
    mounts = files.prepare(TASK, CONTAINER, {"1": b"pa55", "2": b"KEY"}, {})
    shared, single = mounts[-2:]
    assert (shared.target, shared.read_only) == ("/run/secrets", True)
    assert single.target == "/etc/key"
    password = Path(shared.source) / "password"
    assert password.read_bytes() == b"pa55"
    found = password.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (33, 33, 0o400)
    with pytest.raises(OSError, match="Read-only") as refused:
        (Path(shared.source) / "more").write_text("x")
    assert refused.value.errno == errno.EROFS
    assert files.held() == {ID}


def test_secrets_that_are_held_are_found_again_without_their_content(files, tmp_path):
    files.prepare(TASK, CONTAINER, {"1": b"pa55", "2": b"KEY"}, {})
    again = TaskFiles(tmp_path / "run", tmp_path / "state")
    mounts = again.prepare(TASK, CONTAINER, {}, {})
    assert Path(mounts[-1].source).read_bytes() == b"KEY"


def test_another_version_comes_while_somebody_still_reads_the_one_before(files, tmp_path):
    mounts = files.prepare(TASK, CONTAINER, {"1": b"pa55", "2": b"KEY"}, {})
    shared, single = (Path(mount.source) for mount in mounts[-2:])
    references = tuple(replace(r, id=f"{r.id}b") for r in CONTAINER.secrets)
    container = replace(CONTAINER, secrets=references)
    task = Task(id=ID, spec=TaskSpec(container=container))
    large = b"x" * 300_000
    with (shared / "password").open() as reader, single.open() as other:
        (change,) = files.refresh(task, container, {"1b": large, "2b": large}, {}, frozenset())
        assert files.held() == {ID}, "it is complete, and read-only again"
        assert (shared / "password").read_bytes() == change.source.read_bytes() == large
        files.settle(task, change.earlier)
        assert (reader.read(), other.read()) == ("pa55", "KEY")
    assert files.held() == {ID}
    assert list(single.parent.iterdir()) == [single]
    with pytest.raises(OSError, match="Read-only"):
        single.write_text("x")


def test_nothing_of_a_secret_is_left_behind(files, tmp_path):
    files.prepare(TASK, CONTAINER, {"1": b"pa55", "2": b"KEY"}, {})
    files.remove(ID)
    assert not mounted(tmp_path)
    assert files.strays(frozenset()) == ()
    assert files.held() == frozenset()
