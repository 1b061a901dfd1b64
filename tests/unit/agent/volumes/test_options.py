"""The options of Docker's local driver."""

from agent.volumes.options import BIND, MountPlan, mount_plan


def test_a_volume_without_options_is_a_directory():
    assert mount_plan({}) is None


def test_flags_of_the_mount_are_told_from_the_options_of_the_file_system():
    plan = mount_plan({"type": "tmpfs", "device": "tmpfs", "o": "size=100m,uid=1000,noexec,rw"})
    assert plan == MountPlan("tmpfs", "tmpfs", 0x8, ("size=100m", "uid=1000"))


def test_a_bind():
    plan = mount_plan({"type": "none", "device": "/srv", "o": "bind,ro"})
    assert plan == MountPlan("none", "/srv", BIND | 0x1, ())


def test_network_storage_gets_the_number_of_its_host():
    plan = mount_plan({"type": "nfs", "device": ":/data", "o": "addr=store,rw,nfsvers=4,soft"})
    assert plan.host == "store"
    assert plan.at("10.0.0.7").data == ("addr=10.0.0.7", "nfsvers=4", "soft")
