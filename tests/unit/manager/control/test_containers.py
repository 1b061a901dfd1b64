"""Each wrong option of a container is refused when the service is stored, in one sentence."""

import pytest

from manager.control import checks
from pyswarm.errors import InvalidArgument
from pyswarm.model import (
    ContainerSpec,
    MemorySwap,
    Mount,
    MountRecursion,
    MountType,
    NetworkAttachmentConfig,
    ResourceRequirements,
    Resources,
    ServiceSpec,
    TaskSpec,
    Ulimit,
)

NAN = float("nan")
BIND = Mount(type=MountType.BIND, source="/a", target="/a")


def service(labels=(), task=None, **container):
    task = task or {}
    spec = TaskSpec(container=ContainerSpec(image="nginx", **container), **task)
    return ServiceSpec(name="web", labels=dict(labels), task=spec)


def bind(**changes):
    return Mount(**{"type": MountType.BIND, "source": "/a", "target": "/a"} | changes)


def test_everything_at_once_passes():
    checks.service(
        service(
            labels={"tier": "front"},
            task={
                "networks": (NetworkAttachmentConfig(target="front", aliases=("a.b", "c")),),
                "log_driver": "journald",
                "log_options": {"tag": "{{.Name}}", "max-size": "1m"},
                "resources": ResourceRequirements(
                    limits=Resources(memory_bytes=8 << 20),
                    memory_swap=MemorySwap(swap_bytes=-1, swappiness=100),
                ),
            },
            hostname="{{.Service.Labels.tier}}-{{.Node.Hostname}}-{{.Task.Slot}}",
            env=("A={{.Task.Name}}", "B"),
            workdir="/srv",
            user="nobody:65534",
            groups=("audio",),
            stop_signal="SIGRTMIN+3",
            hosts=("10.0.0.1 db alias", "::1 six"),
            dns_nameservers=("1.1.1.1",),
            dns_search=("a.b",),
            dns_options=("ndots:1",),
            capability_add=("ALL",),
            capability_drop=("kill",),
            ulimits=(Ulimit(name="nofile", soft=-1, hard=-1),),
            sysctls={"net.ipv4.ip_forward": "1"},
            oom_score_adj=-1000,
            mounts=(
                Mount(source="data-{{.Task.Slot}}", target="/{{.Node.Hostname}}"),
                bind(read_only=True, recursion=MountRecursion.READONLY, propagation="rprivate"),
                Mount(type=MountType.TMPFS, target="/t", tmpfs_mode=0o1777),
            ),
        )
    )


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"hostname": "-bad-"}, "hostname '-bad-' is not valid"),
        ({"hostname": "x" * 65}, "at most 64"),
        ({"hostname": "{{.Task.Colour}}"}, ".Task.Colour is not known"),
        ({"hostname": "{{.Task.ID"}, "has no closing }}"),
        ({"env": ("A={{.Service.Labels.none}}",)}, "the template in the environment"),
        ({"env": ("=x",)}, "invalid environment variable: '=x'"),
        ({"env": ("A=\0",)}, "NUL"),
        ({"args": ("\0",)}, "NUL"),
        ({"workdir": "srv"}, "use an absolute path"),
        ({"user": "a:b:c"}, "NAME|UID[:GROUP|GID]"),
        ({"groups": ("a b",)}, "no group's name"),
        ({"stop_signal": "SIGNOT"}, "invalid signal: 'SIGNOT'"),
        ({"stop_grace_period_seconds": NAN}, "must be a duration"),
        ({"stop_grace_period_seconds": -1.0}, "not negative"),
        ({"stop_grace_period_seconds": float("inf")}, "must be a duration"),
        ({"oom_score_adj": 1001}, "not from -1000 to 1000"),
        ({"hosts": ("db 10.0.0.1",)}, "not of the form ADDRESS NAME"),
        ({"hosts": ("10.0.0.1",)}, "not of the form ADDRESS NAME"),
        ({"hosts": ("10.0.0.1 a\n0.0.0.0 evil",)}, "line break"),
        ({"dns_nameservers": ("dns.example",)}, "no IP address"),
        ({"dns_search": ("a\nnameserver 1.1.1.1",)}, "line break"),
        ({"dns_options": ("a b",)}, "no word of resolv.conf"),
        ({"capability_add": ("FLY",)}, "invalid capability: 'FLY'"),
        ({"capability_drop": ("",)}, "invalid capability"),
        ({"ulimits": (Ulimit(name="files", soft=1, hard=1),)}, "invalid ulimit type"),
        ({"ulimits": (Ulimit(name="nofile", soft=2, hard=1),)}, "soft limit must be"),
        ({"ulimits": (Ulimit(name="nofile", soft=-2, hard=-2),)}, "or -1 for none"),
        ({"sysctls": {"kernel.panic": "1"}}, "is the host's"),
        ({"sysctls": {"net.a": "1\n2"}}, "line break"),
        ({"mounts": (Mount(source="v", target="data"),)}, "must be an absolute path"),
        ({"mounts": (Mount(source="v", target="/"),)}, "a path below /"),
        ({"mounts": (Mount(source="v", target="/a/../.."),)}, "without .."),
        ({"mounts": (Mount(source="a b", target="/a"),)}, "volume name 'a b'"),
        ({"mounts": (BIND, Mount(target="/a/"))}, "two mounts have the target"),
        ({"mounts": (bind(source="a"),)}, "absolute path: a"),
        ({"mounts": (bind(propagation="x"),)}, "invalid bind propagation 'x'"),
        ({"mounts": (bind(recursion=MountRecursion.READONLY),)}, "read-only below"),
        ({"mounts": (Mount(target="/a", propagation="slave"),)}, "is no bind"),
        ({"mounts": (Mount(type=MountType.TMPFS, source="x", target="/a"),)}, "have a source"),
        ({"mounts": (Mount(type=MountType.TMPFS, target="/a", tmpfs_mode=-1),)}, "size or mode"),
        ({"mounts": (Mount(source="{{.Nope}}", target="/a"),)}, ".Nope is not known"),
    ],
)
def test_a_wrong_option_is_refused(container, words):
    with pytest.raises(InvalidArgument) as error:
        checks.service(service(**container))
    assert words in error.value.message
    assert error.value.message.startswith("service web: ")


def test_a_label_needs_a_key():
    with pytest.raises(InvalidArgument, match="a label needs a key"):
        checks.service(service(labels={"": "x"}))
    spec = TaskSpec(container=ContainerSpec(image="nginx", labels={"": "x"}))
    with pytest.raises(InvalidArgument, match="a container label needs a key"):
        checks.service(ServiceSpec(name="web", task=spec))


def resources(swap, memory=8 << 20):
    return {
        "resources": ResourceRequirements(
            limits=Resources(memory_bytes=memory), memory_swap=MemorySwap(**swap)
        )
    }


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (resources({"swap_bytes": 1}, memory=0), "needs a memory limit"),
        (resources({"swap_bytes": -2}), "must be a size, or -1"),
        (resources({"swap_bytes": (1 << 63) - 1}), "larger than any machine"),
        (resources({"swappiness": 101}), "from 0 to 100"),
        ({"log_driver": "syslog"}, "there is no log driver syslog"),
        ({"log_options": {"colour": "red"}}, "unknown log opt 'colour'"),
        ({"log_options": {"tag": "{{.Nope}}"}}, ".Nope is not known"),
        ({"networks": (NetworkAttachmentConfig(),)}, "network name/id is not specified"),
        ({"networks": (NetworkAttachmentConfig(target="n", aliases=("a b",)),)}, "no name in DNS"),
    ],
)
def test_a_wrong_setting_of_the_task_is_refused(task, words):
    with pytest.raises(InvalidArgument) as error:
        checks.service(service(task=task))
    assert words in error.value.message


def test_more_replicas_than_any_swarm_can_have_are_refused():
    with pytest.raises(InvalidArgument, match="more than 100000"):
        checks.service(ServiceSpec(name="web", replicas=1 << 40))
