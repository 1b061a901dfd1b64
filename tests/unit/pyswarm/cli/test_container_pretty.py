"""`service inspect --pretty` shows every setting of a service, and moves no cursor."""

from dataclasses import fields, replace

from pyswarm.cli.service_pretty import service_text
from pyswarm.model import (
    ContainerSpec,
    EndpointSpec,
    FileReference,
    Healthcheck,
    MemorySwap,
    Mount,
    MountRecursion,
    MountType,
    NetworkAttachmentConfig,
    Placement,
    PortConfig,
    ResourceRequirements,
    Resources,
    Service,
    ServiceSpec,
    TaskSpec,
    Ulimit,
    UpdateConfig,
)

FULL = ContainerSpec(
    image="nginx:1",
    labels={"c": "d"},
    command=("sh",),
    args=("-c", "x"),
    hostname="h-{{.Task.Slot}}",
    env=("A=1", "B=2"),
    workdir="/srv",
    user="www",
    groups=("audio",),
    init=True,
    tty=True,
    read_only=True,
    stop_signal="SIGINT",
    stop_grace_period_seconds=90.0,
    mounts=(
        Mount(
            type=MountType.BIND,
            source="/a",
            target="/b",
            read_only=True,
            propagation="rslave",
            recursion=MountRecursion.DISABLED,
        ),
        Mount(type=MountType.TMPFS, target="/t", tmpfs_size_bytes=1 << 20, tmpfs_mode=0o700),
    ),
    secrets=(FileReference(name="pw", target="password"),),
    configs=(FileReference(name="site", target="/etc/site"),),
    hosts=("10.0.0.1 db",),
    dns_nameservers=("1.1.1.1",),
    dns_search=("a.b",),
    dns_options=("ndots:1",),
    healthcheck=Healthcheck(test=("CMD", "true"), interval_seconds=0.5, retries=3),
    sysctls={"net.a": "1"},
    capability_add=("CAP_KILL",),
    capability_drop=("ALL",),
    ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
    no_new_privileges=True,
    oom_score_adj=-5,
)
SERVICE = Service(
    id="s1",
    spec=ServiceSpec(
        name="web",
        labels={"a": "b"},
        replicas=3,
        task=TaskSpec(
            container=FULL,
            resources=ResourceRequirements(
                limits=Resources(nano_cpus=500_000_000, memory_bytes=64 << 20, pids=9),
                memory_swap=MemorySwap(swap_bytes=-1, swappiness=7),
            ),
            placement=Placement(constraints=("node.role==worker",), spread=("node.labels.z",)),
            networks=(NetworkAttachmentConfig(target="n1"),),
            log_driver="json-file",
            log_options={"max-size": "1m"},
        ),
        update=UpdateConfig(delay_seconds=3661.5),
        endpoint=EndpointSpec(ports=(PortConfig(target_port=80, published_port=8080),)),
    ),
)

PRETTY = """\
ID:		s1
Name:		web
Labels:
 a=b
Service Mode:	Replicated
 Replicas:	3
Placement:
 Constraints:	[node.role==worker]
 Preferences:	[spread=node.labels.z]
UpdateConfig:
 Parallelism:	1
 Delay:		1h1m1.5s
 On failure:	pause
 Monitoring Period: 5s
 Max failure ratio: 0
 Update order:      stop-first
 Progress deadline: 10m0s
RollbackConfig:
 Parallelism:	1
 On failure:	pause
 Monitoring Period: 5s
 Max failure ratio: 0
 Rollback order:      stop-first
 Progress deadline: 10m0s
ContainerSpec:
 Image:		nginx:1
 Command:	sh
 Args:		-c x
 Hostname:	h-{{.Task.Slot}}
 Init:		true
 Env:		A=1 B=2
 Labels:
  c=d
 Dir:		/srv
 User:		www
 Groups:		audio
 TTY:		true
 ReadOnly:	true
 StopSignal:	SIGINT
 StopGracePeriod:	1m30s
 OomScoreAdj:	-5
 Mounts:
  Target:	/b
   Source:	/a
   ReadOnly:	true
   Type:	bind
   Propagation:	rslave
   Recursive:	disabled
  Target:	/t
   ReadOnly:	false
   Type:	tmpfs
   Size:	1MiB
   Mode:	0700
 Configs:
  Target:	/etc/site
   Source:	site
 Secrets:
  Target:	password
   Source:	pw
 CapabilityAdd:	CAP_KILL
 CapabilityDrop:	ALL
 Ulimits:
  nofile=1:2
 Sysctls:
  net.a=1
 Hosts:
  10.0.0.1 db
 DNS Nameservers:	1.1.1.1
 DNS Search:	a.b
 DNS Options:	ndots:1
 NoNewPrivileges:	true
Log Driver:
 Name:		json-file
 LogOpts:
  max-size=1m
Resources:
 Limits:
  CPU:		0.5
  Memory:	64MiB
  PIDs:		9
 Swap:		unlimited
 Swappiness:	7
Networks: front
Endpoint Mode:	vip
Ports:
 PublishedPort = 8080
  Protocol = tcp
  TargetPort = 80
  PublishMode = ingress
Healthcheck:
 Test:		CMD true
 Interval:	500ms
 Retries:	3
"""


def test_a_service_with_everything():
    assert service_text(SERVICE, {"n1": "front"}) == PRETTY


def test_each_field_of_a_container_makes_a_difference():
    bare = ContainerSpec()

    def shown(container):
        task = replace(SERVICE.spec.task, container=container)
        return service_text(replace(SERVICE, spec=replace(SERVICE.spec, task=task)), {})

    for each in fields(ContainerSpec):
        changed = replace(bare, **{each.name: getattr(FULL, each.name)})
        assert shown(changed) != shown(bare), each.name


def test_what_a_user_wrote_moves_no_cursor():
    task = TaskSpec(container=ContainerSpec(image="x", env=("A=\x1b[2J\rB",)))
    text = service_text(Service(id="s", spec=ServiceSpec(name="web", task=task)), {})
    assert "\x1b" not in text
    assert "\r" not in text
