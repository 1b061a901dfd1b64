"""Volumes on disk, without a device: those need root, and are in tests/e2e."""

import pytest

from agent.volumes.disk import VolumeDirectory
from pyswarm.errors import InvalidArgument, Unavailable
from pyswarm.model import VolumeSpec

A, B = "a" * 25, "b" * 25
DATA = VolumeSpec(name="data", labels={"tier": "1"})


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


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x"])
def test_a_name_leads_nowhere_else(volumes, name):
    with pytest.raises(InvalidArgument):
        volumes.use(A, VolumeSpec(name=name))
