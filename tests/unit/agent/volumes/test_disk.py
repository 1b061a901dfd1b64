"""Volumes on disk; with a device they need root."""

import os
from pathlib import Path

import pytest

from agent.volumes.disk import VolumeDirectory
from pyswarm.errors import InvalidArgument, Unavailable
from pyswarm.model import VolumeSpec

A, B = "a" * 25, "b" * 25
DATA = VolumeSpec(name="data", labels={"tier": "1"})

root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def volumes(tmp_path):
    return VolumeDirectory(tmp_path / "state", tmp_path / "run")


def test_a_volume_is_made_once_and_shared(volumes):
    path = volumes.use(A, DATA)
    (path / "file").write_text("x")
    assert volumes.use(B, VolumeSpec(name="data", labels={"other": "1"})) == path
    (seen,) = volumes.list()
    assert (seen.spec, seen.tasks) == (DATA, (A, B)), "as it was made"
    assert seen.created_at > 0


def test_it_stays_when_its_tasks_have_gone(volumes):
    path = volumes.use(A, DATA)
    assert volumes.users() == {A}
    volumes.leave(A)
    assert path.is_dir()
    assert volumes.users() == set()


def test_it_is_removed_when_nobody_uses_it_and_what_was_freed_is_told(volumes):
    (volumes.use(A, DATA) / "file").write_bytes(b"x" * 10_000)
    assert volumes.remove("data") is None
    volumes.leave(A)
    assert volumes.remove("data") >= 10_000
    assert volumes.list() == ()
    assert volumes.remove("data") == 0, "again"


def test_nobody_begins_to_use_what_is_being_removed(volumes):
    volumes.refuse({"data"})
    with pytest.raises(Unavailable, match="being removed"):
        volumes.use(A, DATA)
    volumes.refuse(())
    volumes.use(A, DATA)


def test_a_removal_that_was_broken_off_is_finished(tmp_path, volumes):
    (volumes.use(A, DATA) / "file").write_text("x")
    (tmp_path / "state/data").rename(tmp_path / "state/.data.removing")
    again = VolumeDirectory(tmp_path / "state", tmp_path / "run")
    assert again.list() == ()
    assert list((tmp_path / "state").iterdir()) == []


def test_a_volume_of_an_older_version_has_no_options(tmp_path, volumes):
    (tmp_path / "state/old/_data").mkdir(parents=True)
    (tmp_path / "state/broken/_data").mkdir(parents=True)
    (tmp_path / "state/broken/opts.json").write_text("{")
    assert [v.spec for v in volumes.list()] == [VolumeSpec(name="broken"), VolumeSpec(name="old")]


def points(path):
    """How often something is mounted at a path: `is_mount` sees no directory of one file system."""
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return sum(1 for line in table if line.split(" ")[4] == str(path))


def options(kind, device, o):
    return {"type": kind, "device": str(device), "o": o}


def test_a_volume_whose_device_is_not_here_is_said_to_be_so_and_not_made(tmp_path, volumes):
    """A volume that was made would bind its tasks to this node."""
    missing = VolumeSpec(name="away", driver_options=options("none", tmp_path / "none", "bind"))
    with pytest.raises(InvalidArgument, match=r"volume away: failed .*none does not exist on this"):
        volumes.use(A, missing)
    assert (volumes.list(), volumes.users()) == ((), set())
    assert list((tmp_path / "state").iterdir()) == list((tmp_path / "run").iterdir()) == []


def test_a_volume_is_named_to_nobody_before_its_first_mount_succeeds(monkeypatch, volumes):
    """A manager that had heard of it would keep it, on no node, for good."""
    seen = []
    monkeypatch.setattr("agent.volumes.disk._mount", lambda *_: seen.append(volumes.list()))
    volumes.use(A, VolumeSpec(name="far", driver_options=options("nfs", ":/srv", "addr=127.0.0.1")))
    assert seen == [()]
    assert [volume.spec.name for volume in volumes.list()] == ["far"]


def test_what_cannot_be_mounted_later_stays_with_its_data(tmp_path, volumes):
    (volumes.use(A, DATA) / "file").write_text("x")
    (tmp_path / "state/data/opts.json").write_text(
        '{"options": {"type": "none", "o": "bind", "device": "/none"}}'
    )
    with pytest.raises(InvalidArgument):
        volumes.use(B, DATA)
    assert (tmp_path / "state/data/_data/file").read_text() == "x"


@root
def test_a_directory_of_the_host_is_the_volume_while_it_is_used(tmp_path, volumes):
    device = tmp_path / "device"
    device.mkdir()
    spec = VolumeSpec(name="host", driver_options=options("none", device, "bind"))
    path = volumes.use(A, spec)
    assert volumes.use(B, spec) == path
    (path / "file").write_text("x")
    assert (device / "file").read_text() == "x"
    assert points(path) == 1, "once for all tasks"
    volumes.leave(A)
    assert points(path) == 1
    volumes.leave(B)
    assert (points(path), list(path.iterdir())) == (0, [])
    assert volumes.remove("host") is not None
    assert (device / "file").read_text() == "x", "the device is not the volume's to remove"


@root
def test_a_read_only_directory_of_the_host_is_so(tmp_path, volumes):
    (tmp_path / "a device").mkdir()
    spec = VolumeSpec(name="ro", driver_options=options("none", tmp_path / "a device", "bind,ro"))
    path = volumes.use(A, spec)
    with pytest.raises(OSError, match="Read-only"):
        (path / "file").write_text("x")
    volumes.leave(A)
    assert points(path) == 0


@root
@pytest.mark.parametrize("kind", ["nfs", "nofs"])
def test_a_file_system_that_the_kernel_does_not_know_is_named(volumes, kind):
    if f"\t{kind}\n" in Path("/proc/filesystems").read_text():
        pytest.skip(f"this kernel knows {kind}")
    spec = VolumeSpec(name="far", driver_options=options(kind, ":/srv", "addr=127.0.0.1,rw"))
    with pytest.raises(InvalidArgument, match=f"kernel knows no file system '{kind}'"):
        volumes.use(A, spec)
    assert volumes.list() == ()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x"])
def test_a_name_leads_nowhere_else(volumes, name):
    with pytest.raises(InvalidArgument):
        volumes.use(A, VolumeSpec(name=name))
