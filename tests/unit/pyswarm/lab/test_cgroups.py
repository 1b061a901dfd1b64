"""The hierarchies of a machine, read from mountinfo."""

from pathlib import Path

from pyswarm.lab.cgroups import Hierarchy, _create, hierarchies

HYBRID = """\
30 23 0:25 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs rw,mode=755
31 30 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
32 30 0:27 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
33 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
"""
UNIFIED = "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_a_hybrid_machine_has_each_controller_where_it_is_mounted() -> None:
    found = {(str(each.mountpoint.name), each.options, each.only) for each in hierarchies(HYBRID)}
    assert found == {
        ("unified", "", False),
        ("systemd", "name=systemd", False),
        ("cpu,cpuacct", "cpu,cpuacct", False),
    }


def test_v2_alone_holds_the_controllers() -> None:
    (only,) = hierarchies(UNIFIED)
    assert (only.mountpoint, only.options, only.only) == (Path("/sys/fs/cgroup"), "", True)


def test_a_mount_over_a_mount_counts_once() -> None:
    assert len(hierarchies(UNIFIED + UNIFIED)) == 1


def test_a_cpuset_of_v2_that_is_empty_is_as_it_should_be(tmp_path: Path) -> None:
    """It has what its parent has, and the one at the root has no file to copy from."""
    directory = tmp_path
    for part in ("", "pyswarm-lab", "shop", "w1"):
        directory = directory / part
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.controllers").write_text("cpuset")
        (directory / "cgroup.subtree_control").touch()
        if part:
            (directory / "cpuset.cpus").touch()
    assert _create(
        Hierarchy(mountpoint=tmp_path, options="", only=True), ("pyswarm-lab", "shop", "w1")
    )
    assert (directory / "init").is_dir()
    assert (directory / "cpuset.cpus").read_text() == ""
