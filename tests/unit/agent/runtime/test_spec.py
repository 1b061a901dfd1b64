"""The configuration of a container, also against what dockerd 20.10 wrote for one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.executor.containers import ContainerRequest
from agent.runtime import spec
from agent.runtime.facts import HostFacts
from agent.runtime.users import Identity
from pyswarm.errors import FailedPrecondition, InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    MemorySwap,
    Mount,
    MountRecursion,
    MountType,
    Resources,
    Ulimit,
)
from pyswarm.registry.documents import ImageConfig

# Written by dockerd 20.10.24 of Debian 12 for `docker run busybox sleep 100`.
DOCKER = json.loads((Path(__file__).parent / "data/docker-20.10-oci-config.json").read_text())
ROOT = Identity(0, 0, (0,))
HOST_FILES = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts")


def request(mounts=(), limits=Resources(), namespace="/run/netns/task", **wishes):  # noqa: B008
    return ContainerRequest(
        id="task",
        container=ContainerSpec(**{"command": ("sleep", "100")} | wishes),
        limits=limits,
        mounts=tuple(mounts),
        namespace=namespace,
        hostname="06895133d1a1",
    )


def build(asked, host=HostFacts(), image=ImageConfig()):  # noqa: B008
    runs = spec.program(asked, image, ROOT)
    return spec.build(asked, runs, host, "/pyswarm/task")


def binds():
    return [
        Mount(type=MountType.BIND, source=f"/var/lib/docker/{Path(target).name}", target=target)
        for target in HOST_FILES
    ]


# ---- Docker's defaults ----


def test_the_process_is_dockers():
    ours = build(request())["process"]
    for key in ("user", "args", "env", "cwd", "capabilities", "oomScoreAdj"):
        assert ours[key] == DOCKER["process"][key], key


def test_no_capability_is_inheritable():
    assert set(build(request())["process"]["capabilities"]) == {
        "bounding",
        "effective",
        "permitted",
    }


def test_mounts_are_dockers():
    ours = build(request(mounts=binds()))["mounts"]
    assert ours[:7] == DOCKER["mounts"][:7]
    by_target = {mount["destination"]: mount for mount in ours}
    for theirs in DOCKER["mounts"]:
        assert by_target[theirs["destination"]] == theirs
    assert len(ours) == len(DOCKER["mounts"])


def test_paths_are_masked_as_by_docker_and_powercap_as_by_newer_docker():
    linux = build(request())["linux"]
    assert set(linux["maskedPaths"]) - set(DOCKER["linux"]["maskedPaths"]) == {
        "/sys/devices/virtual/powercap"
    }
    assert set(DOCKER["linux"]["maskedPaths"]) <= set(linux["maskedPaths"])
    assert linux["readonlyPaths"] == DOCKER["linux"]["readonlyPaths"]


def test_seccomp_is_dockers_without_io_uring():
    def flat(profile):
        return {
            (name, rule["action"], json.dumps(rule.get("args")), rule.get("errnoRet"))
            for rule in profile["syscalls"]
            for name in rule["names"]
        }

    ours = build(request())["linux"]["seccomp"]
    theirs = DOCKER["linux"]["seccomp"]

    def plain(profile):
        # A second value of 0 is the default of a comparison.
        return {(n, a, args.replace('"valueTwo": 0, ', ""), e) for n, a, args, e in flat(profile)}

    assert plain(ours) - plain(theirs) == set()
    assert {name for name, *_ in plain(theirs) - plain(ours)} == {
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
    }
    assert ours["defaultAction"] == theirs["defaultAction"]
    assert ours["architectures"] == theirs["architectures"]


def test_namespaces_are_dockers_with_the_network_of_the_caller():
    ours = build(request())["linux"]["namespaces"]
    assert {each["type"] for each in ours} == {
        each["type"] for each in DOCKER["linux"]["namespaces"]
    }
    assert {"type": "network", "path": "/run/netns/task"} in ours
    assert {"type": "network"} in build(request(namespace=""))["linux"]["namespaces"]


def test_every_device_that_docker_allows_is_allowed_and_all_others_are_not():
    devices = build(request())["linux"]["resources"]["devices"]
    assert devices[0] == {"allow": False, "access": "rwm"}
    for theirs in DOCKER["linux"]["resources"]["devices"]:
        if theirs["allow"]:
            assert theirs in devices


# ---- wishes ----


def test_limits_become_resources():
    limits = Resources(nano_cpus=1_500_000_000, memory_bytes=64 << 20, pids=10)
    found = build(request(limits=limits))["linux"]["resources"]
    assert found["cpu"] == {"period": 100_000, "quota": 150_000}
    assert found["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert found["pids"] == {"limit": 10}
    host = HostFacts(swap_accounting=False)
    assert build(request(limits=limits), host)["linux"]["resources"]["memory"] == {
        "limit": 64 << 20
    }


def test_the_smallest_share_of_a_cpu_is_what_the_kernel_takes():
    found = build(request(limits=Resources(nano_cpus=1)))["linux"]["resources"]
    assert found["cpu"]["quota"] == 1000


def test_a_mount_of_ones_own_replaces_the_default_and_outer_mounts_come_first():
    mounts = [
        Mount(type=MountType.TMPFS, target="/a/b/c"),
        Mount(type=MountType.BIND, source="/x", target="/a/", read_only=True),
        Mount(type=MountType.TMPFS, target="/dev/shm", tmpfs_size_bytes=1 << 30),
    ]
    found = build(request(mounts=mounts))["mounts"]
    targets = [mount["destination"] for mount in found]
    assert targets.count("/dev/shm") == 1
    assert targets.index("/a") < targets.index("/a/b/c")
    assert found[targets.index("/a")]["options"] == ["rbind", "rprivate", "ro"]
    assert "size=1073741824" in found[targets.index("/dev/shm")]["options"]


def test_resource_limits_are_clamped_to_ones_own():
    host = HostFacts(hard_limits={"nofile": 1000}, oom_score_adjust_min=300)
    ulimits = (
        Ulimit(name="nofile", soft=500, hard=5000),
        Ulimit(name="nproc", soft=-1, hard=-1),
    )
    process = build(request(ulimits=ulimits), host)["process"]
    assert process["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 500, "hard": 1000},
        {"type": "RLIMIT_NPROC", "soft": 2**64 - 1, "hard": 2**64 - 1},
    ]
    assert process["oomScoreAdj"] == 300


def test_under_cgroup_v2_the_container_has_a_cgroup_namespace():
    found = build(request(), HostFacts(unified_cgroups=True))["linux"]["namespaces"]
    assert {"type": "cgroup"} in found


def test_an_init_is_bound_in_front_of_the_command():
    found = build(request(init=True), HostFacts(init_path="/usr/bin/tini-static"))
    assert found["process"]["args"] == ["/sbin/docker-init", "--", "sleep", "100"]
    assert found["mounts"][-1]["source"] == "/usr/bin/tini-static"
    with pytest.raises(FailedPrecondition, match="install the package tini"):
        build(request(init=True))


def test_options_of_the_service_are_in_their_places():
    wishes = {"read_only": True, "tty": True, "no_new_privileges": True}
    found = build(request(**wishes, sysctls={"net.core.somaxconn": "100"}))
    assert found["root"]["readonly"]
    assert found["process"]["terminal"]
    assert found["process"]["noNewPrivileges"]
    assert "TERM=xterm" in found["process"]["env"]
    assert found["linux"]["sysctl"] == {"net.core.somaxconn": "100"}


@pytest.mark.parametrize(
    "bad",
    [
        request(mounts=[Mount(type=MountType.TMPFS, target="relative")]),
        request(mounts=[Mount(type=MountType.TMPFS, target="/x/..")]),
        request(mounts=[Mount(type=MountType.BIND, target="/x", propagation="odd")]),
        request(ulimits=(Ulimit(name="odd"),)),
        request(workdir="/proc/self/fd/8"),
        replace(request(), container=ContainerSpec()),
    ],
)
def test_what_makes_no_sense_is_refused(bad):
    with pytest.raises(InvalidArgument):
        build(bad)


# ---- swap, badness, binds ----


def memory(swap, host=HostFacts(), limit=64 << 20):  # noqa: B008
    asked = replace(request(limits=Resources(memory_bytes=limit)), memory_swap=swap)
    return build(asked, host)["linux"]["resources"].get("memory")


def test_swap_goes_beyond_the_memory_limit_where_it_is_asked_for():
    assert memory(None) == {"limit": 64 << 20, "swap": 64 << 20}
    assert memory(MemorySwap(swap_bytes=1 << 20))["swap"] == 65 << 20
    assert memory(MemorySwap(swap_bytes=-1))["swap"] == -1
    assert memory(MemorySwap(swappiness=10))["swappiness"] == 10
    assert memory(MemorySwap(swappiness=0), limit=0) == {"swappiness": 0}
    assert "swappiness" not in memory(MemorySwap(swappiness=10), HostFacts(unified_cgroups=True))


def test_badness_is_what_was_asked_for_or_the_least_that_is_possible():
    assert build(request(oom_score_adj=-500))["process"]["oomScoreAdj"] == -500
    limited = HostFacts(oom_score_adjust_min=100)
    assert build(request(oom_score_adj=-500), limited)["process"]["oomScoreAdj"] == 100
    assert build(request(oom_score_adj=500), limited)["process"]["oomScoreAdj"] == 500


def test_a_bind_takes_the_mounts_below_it_along_or_leaves_them():
    def options(**changes):
        mount = Mount(type=MountType.BIND, source="/a", target="/b", **changes)
        mounts = build(request(mounts=(mount,)))["mounts"]
        return next(m["options"] for m in mounts if m["destination"] == "/b")

    assert options() == ["rbind", "rprivate"]
    assert options(recursion=MountRecursion.DISABLED) == ["bind", "rprivate"]
    assert options(read_only=True) == ["rbind", "rprivate", "ro"]
    assert options(read_only=True, recursion=MountRecursion.READONLY) == [
        "rbind",
        "rprivate",
        "ro",
        "rro",
    ]
