"""Files without secrets, which need no root; secrets are in tests/netns/agent."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.mounts.driver import TaskFiles
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    FileReference,
    Mount,
    MountType,
    NetworkAttachment,
    Task,
    TaskSpec,
    VolumeSpec,
)

ID = "a" * 25


def prepared(tmp_path, contents=None, **container):
    spec = ContainerSpec(**container)
    networks = (NetworkAttachment(network_id="n", address="10.0.1.5/24"),)
    task = Task(id=ID, spec=TaskSpec(container=spec), networks=networks)
    files = TaskFiles(tmp_path / "run", tmp_path / "state")
    return files, files.prepare(task, spec, {}, contents or {})


def test_every_container_gets_hosts_resolv_conf_and_hostname(tmp_path):
    _, mounts = prepared(tmp_path, hostname="db")
    assert [m.target for m in mounts] == ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]
    hosts, _, name = (Path(m.source) for m in mounts)
    assert "10.0.1.5\tdb" in hosts.read_text()
    assert name.read_text() == "db\n"
    assert hosts.stat().st_mode & 0o777 == 0o644


def test_a_config_is_a_read_only_file_with_its_mode(tmp_path):
    configs = (FileReference(id="c", name="site", target="/etc/site.conf", mode=0o440),)
    _, mounts = prepared(tmp_path, {"c": b"listen 80"}, configs=configs)
    mount = mounts[-1]
    assert (mount.target, mount.read_only) == ("/etc/site.conf", True)
    assert Path(mount.source).read_bytes() == b"listen 80"
    assert Path(mount.source).stat().st_mode & 0o777 == 0o440


def test_named_volumes_stay_and_anonymous_ones_go_with_the_task(tmp_path):
    files, mounts = prepared(
        tmp_path, mounts=(Mount(source="data", target="/data"), Mount(target="/cache"))
    )
    named, anonymous = (Path(m.source) for m in mounts[-2:])
    assert {m.type for m in mounts} == {MountType.BIND}
    assert named == tmp_path / "state/volumes/data/_data"
    (named / "kept").write_text("x")
    files.remove(ID)
    assert (named / "kept").exists()
    assert files.strays(frozenset()) == ()
    assert files.forgotten(frozenset()) == (ID,)
    assert anonymous.exists(), "until the task's record goes"
    files.forget(ID)
    assert not anonymous.exists()
    assert files.forgotten(frozenset()) == ()


@pytest.mark.parametrize("name", ["../etc", "a/b", ".hidden", "a" * 300])
def test_a_volume_cannot_lie_outside(tmp_path, name):
    with pytest.raises(InvalidArgument, match="cannot name a volume"):
        prepared(tmp_path, mounts=(Mount(source=name, target="/data"),))


def test_preparing_twice_gives_the_same(tmp_path):
    _, first = prepared(tmp_path)
    files, second = prepared(tmp_path)
    assert first == second
    assert files.strays(frozenset()) == (ID,)


SITE = FileReference(id="c1", name="site", target="/etc/site.conf", mode=0o440)


def turned(files, version, text):
    """The task refers to that version, and its file has the text; answers the one change."""
    container = ContainerSpec(configs=(replace(SITE, id=version),))
    task = Task(id=ID, spec=TaskSpec(container=container))
    assert files.is_stale(task)
    (change,) = files.refresh(task, container, {}, {version: text}, frozenset())
    assert change.source.read_bytes() == text
    assert files.is_stale(task), "until the container was told"
    return task, change


def test_files_follow_to_another_version_and_what_the_container_has_mounted_stays(tmp_path):
    files, mounts = prepared(tmp_path, {"c1": b"listen 8080"}, configs=(SITE,))
    mounted = Path(mounts[-1].source).stat().st_ino
    assert files.shown(ID) == {"c1"}
    task, change = turned(files, "c2", b"listen 80")
    assert (str(change.source), change.target) == (mounts[-1].source, "/etc/site.conf")
    assert change.source.stat().st_mode & 0o777 == 0o440
    (earlier,) = change.earlier
    assert (earlier.stat().st_ino, earlier.read_bytes()) == (mounted, b"listen 8080")
    files.settle(task, [earlier])
    assert list(change.source.parent.iterdir()) == [change.source]
    assert not files.is_stale(task)
    assert not TaskFiles(tmp_path / "run", tmp_path / "state").is_stale(task), "after a restart"


def test_earlier_files_that_are_mounted_still_are_named_again(tmp_path):
    files, _ = prepared(tmp_path, {"c1": b"one"}, configs=(SITE,))
    task, _ = turned(files, "c2", b"two")
    files.settle(task, [])
    files = TaskFiles(tmp_path / "run", tmp_path / "state")
    task, change = turned(files, "c1", b"one")
    assert sorted(path.read_bytes() for path in change.earlier) == [b"one", b"two"]
    files.settle(task, change.earlier)
    assert list(change.source.parent.iterdir()) == [change.source]


def test_a_rotation_that_was_broken_off_is_named_again_and_nothing_is_written_twice(tmp_path):
    files, _ = prepared(tmp_path, {"c1": b"one"}, configs=(SITE,))
    _, change = turned(files, "c2", b"two")
    assert turned(TaskFiles(tmp_path / "run", tmp_path / "state"), "c2", b"two")[1] == change
    # Or it broke off between the two renames.
    change.source.unlink()
    (again,) = turned(files, "c2", b"two")[1:]
    assert again == change


def test_a_task_that_was_removed_during_a_rotation_leaves_nothing(tmp_path):
    files, _ = prepared(tmp_path, {"c1": b"one"}, configs=(SITE,))
    task, change = turned(files, "c2", b"two")
    files.remove(ID)
    files.settle(task, change.earlier)
    assert files.strays(frozenset()) == ()


def test_the_files_of_a_task_that_was_not_prepared_are_not_stale(tmp_path):
    files = TaskFiles(tmp_path / "run", tmp_path / "state")
    reference = FileReference(id="c", name="site")
    spec = TaskSpec(container=ContainerSpec(configs=(reference,)))
    assert not files.is_stale(Task(id=ID, spec=spec))


def test_a_volume_is_made_as_the_managers_know_it(tmp_path):
    mount = Mount(source="data", target="/data", labels={"by": "mount"})
    spec = ContainerSpec(mounts=(mount,))
    files = TaskFiles(tmp_path / "run", tmp_path / "state")
    known = {"data": VolumeSpec(name="data", labels={"by": "name"})}
    files.prepare(Task(id=ID), spec, {}, {}, volumes=known)
    (volume,) = files.volumes.list()
    assert (volume.spec.labels, volume.tasks) == ({"by": "name"}, (ID,))
    files.remove(ID)
    assert files.volumes.list()[0].tasks == ()
