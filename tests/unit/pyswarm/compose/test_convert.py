"""Compose files to records: one claim for each part of a service and of a stack."""

import pytest

from pyswarm.compose.context import Context, needed_files
from pyswarm.compose.convert import convert
from pyswarm.compose.document import read
from pyswarm.compose.marked import ComposeError
from pyswarm.model import (
    FailureAction,
    FileReference,
    Follow,
    GenericResource,
    Healthcheck,
    MemorySwap,
    Mount,
    MountRecursion,
    MountType,
    NetworkAttachmentConfig,
    Platform,
    PortConfig,
    Protocol,
    PublishMode,
    ResolutionMode,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceMode,
    Ulimit,
    UpdateConfig,
    UpdateOrder,
)

NAMESPACE = {"com.docker.stack.namespace": "shop"}


def load(text, files=None, environ=None):
    context = Context(
        stack="shop", folder="/srv/shop", environ=environ or {}, files=files or {}, warnings=[]
    )
    document = read([("compose.yml", text)], environ or {})
    return convert(document.tree, context), context.warnings


def web(text, top="", **kwargs):
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    stack, _ = load(f"services:\n  web:\n    image: nginx\n{lines}{top}", **kwargs)
    return stack.services[0]


def refusal(text, top=""):
    with pytest.raises(ComposeError) as caught:
        web(text, top)
    return caught.value.message


def test_a_service_without_anything_else_has_the_defaults_of_docker():
    stack, warnings = load("services: {web: {image: nginx}}")
    (service,) = stack.services
    assert warnings == []
    assert service.name == "shop_web"
    assert service.labels == NAMESPACE | {"com.docker.stack.image": "nginx"}
    assert service.task.container.labels == NAMESPACE
    assert service.task.networks == (
        NetworkAttachmentConfig(target="shop_default", aliases=("web",)),
    )
    assert [(n.name, n.labels) for n in stack.networks] == [("shop_default", NAMESPACE)]
    assert (service.mode, service.replicas) == (ServiceMode.REPLICATED, 1)
    assert service.update == UpdateConfig()
    assert service.task.restart == RestartPolicy()
    assert service.task.container.stop_grace_period_seconds == 10.0


def test_only_networks_that_are_used_are_made():
    stack, _ = load(
        "services: {web: {image: i, networks: [front, out]}}\n"
        "networks:\n"
        "  front: {internal: true, attachable: true, driver_opts: {mtu: 1400}, labels: [a=b],\n"
        "          ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.9.0.1}]}}\n"
        "  idle:\n"
        "  out: {external: true, name: shared}\n"
    )
    (front,) = stack.networks
    assert (front.name, front.subnet, front.gateway) == ("shop_front", "10.9.0.0/24", "10.9.0.1")
    assert (front.internal, front.attachable) == (True, True)
    assert front.driver_options == {"mtu": "1400"}
    assert front.labels == NAMESPACE | {"a": "b"}
    assert stack.external_networks == ("shared",)
    assert [a.target for a in stack.services[0].task.networks] == ["shared", "shop_front"]


def test_a_name_of_its_own_is_taken_as_it_is_and_external_ones_in_both_forms():
    stack, _ = load(
        "services: {web: {image: i, networks: [a, b, c]}}\n"
        "networks: {a: {name: mine}, b: {external: {name: old}}, c: {external: true}}"
    )
    assert [n.name for n in stack.networks] == ["mine"]
    assert stack.external_networks == ("c", "old")


def test_aliases_end_with_the_short_name():
    service = web("networks: {default: {aliases: [www, web]}}")
    assert service.task.networks[0].aliases == ("www", "web")


def test_deploy_becomes_mode_replicas_labels_and_endpoint_mode():
    service = web("deploy: {replicas: 0, labels: {a: 1}, endpoint_mode: dnsrr}")
    assert service.replicas == 0
    assert service.labels["a"] == "1"
    assert service.endpoint.mode == ResolutionMode.DNSRR
    assert web("deploy: {mode: global}").mode == ServiceMode.GLOBAL


def test_deploy_becomes_resources():
    service = web(
        "deploy: {resources: {limits: {cpus: 0.5, memory: 64M, pids: 10}, "
        "reservations: {cpus: '0.25', memory: 32M}}}"
    )
    assert service.task.resources.limits == Resources(
        nano_cpus=500_000_000, memory_bytes=64 << 20, pids=10
    )
    assert service.task.resources.reservations == Resources(
        nano_cpus=250_000_000, memory_bytes=32 << 20
    )


def test_limits_in_the_words_of_a_single_host_count_too():
    limits = web("cpus: 2\nmem_limit: 1g\npids_limit: -1").task.resources.limits
    assert limits == Resources(nano_cpus=2_000_000_000, memory_bytes=1 << 30)


def test_deploy_becomes_policies():
    service = web(
        "deploy:\n"
        "  restart_policy: {condition: on-failure, delay: 1s, max_attempts: 3, window: 2m}\n"
        "  update_config: {parallelism: 0, delay: 10s, failure_action: rollback, monitor: 1s,\n"
        "                  max_failure_ratio: 0.25, order: start-first}\n"
        "  rollback_config: {failure_action: continue, x-progress-deadline: 2m}\n"
        "  placement: {constraints: [node.role==manager], preferences: [{spread: node.labels.z}],\n"
        "              max_replicas_per_node: 2}\n"
    )
    assert service.task.restart == RestartPolicy(
        condition=RestartCondition.ON_FAILURE,
        delay_seconds=1.0,
        max_attempts=3,
        window_seconds=120.0,
    )
    assert service.update == UpdateConfig(
        parallelism=0,
        delay_seconds=10.0,
        failure_action=FailureAction.ROLLBACK,
        monitor_seconds=1.0,
        max_failure_ratio=0.25,
        order=UpdateOrder.START_FIRST,
    )
    assert service.rollback == UpdateConfig(
        failure_action=FailureAction.CONTINUE, progress_deadline_seconds=120.0
    )
    placement = service.task.placement
    assert placement.constraints == ("node.role==manager",)
    assert (placement.spread, placement.max_replicas) == (("node.labels.z",), 2)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("restart: always", RestartPolicy()),
        ("restart: 'no'", RestartPolicy(condition=RestartCondition.NONE)),
        ("restart: no", RestartPolicy(condition=RestartCondition.NONE)),
        (
            "restart: on-failure:3",
            RestartPolicy(condition=RestartCondition.ON_FAILURE, max_attempts=3),
        ),
    ],
)
def test_restart_counts_where_deploy_says_nothing(text, policy):
    assert web(text).task.restart == policy


def test_a_job_completes_as_often_as_it_has_replicas_and_is_restarted_on_failure():
    service = web("deploy: {mode: replicated-job, replicas: 3}")
    assert (service.mode, service.replicas) == (ServiceMode.REPLICATED_JOB, 3)
    assert service.task.restart == RestartPolicy(condition=RestartCondition.ON_FAILURE)
    service = web("deploy: {mode: global-job, restart_policy: {condition: none, delay: 1s}}")
    assert service.mode == ServiceMode.GLOBAL_JOB
    assert service.task.restart == RestartPolicy(condition=RestartCondition.NONE, delay_seconds=1)
    service = web("deploy: {mode: global-job, restart_policy: {max_attempts: 2}}")
    assert service.task.restart.condition == RestartCondition.ON_FAILURE


def test_the_environment_wins_over_files_and_names_without_value_take_ours():
    service = web(
        "env_file: [a.env, {path: none.env, required: false}]\nenvironment: [B=2, HERE, NOWHERE]",
        files={"/srv/shop/a.env": b"A=1\nB=1\nC='x y'\n"},
        environ={"HERE": "yes"},
    )
    assert service.task.container.env == ("A=1", "B=2", "C=x y", "HERE=yes")


def test_a_name_without_any_value_is_left_out_aloud():
    _, warnings = load("services: {w: {image: i, environment: [NOWHERE]}}")
    assert "NOWHERE has no value here or in the environment" in warnings[0]


def test_the_container_in_all_its_plain_parts():
    container = web(
        "entrypoint: /bin/sh -c\ncommand: [echo, hi]\nuser: '1000'\ngroup_add: [audio]\n"
        "working_dir: /w\nhostname: h\ninit: true\ntty: true\nread_only: true\n"
        "stop_signal: SIGINT\nstop_grace_period: 1m\ncap_add: [NET_ADMIN]\ncap_drop: [ALL]\n"
        "sysctls: {net.core.somaxconn: 1024}\ndns: 1.1.1.1\ndns_search: [a.b]\ndns_opt: [ndots:1]\n"
        "extra_hosts: ['db:10.0.0.5']\nulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}\n"
        "security_opt: [no-new-privileges:true]\nlabels: [x=y]"
    ).task.container
    assert (container.command, container.args) == (("/bin/sh", "-c"), ("echo", "hi"))
    assert (container.user, container.groups) == ("1000", ("audio",))
    assert (container.workdir, container.hostname) == ("/w", "h")
    assert container.init
    assert container.tty
    assert container.read_only
    assert container.no_new_privileges
    assert (container.stop_signal, container.stop_grace_period_seconds) == ("SIGINT", 60.0)
    assert (container.capability_add, container.capability_drop) == (("NET_ADMIN",), ("ALL",))
    assert container.sysctls == {"net.core.somaxconn": "1024"}
    assert container.dns_nameservers == ("1.1.1.1",)
    assert (container.dns_search, container.dns_options) == (("a.b",), ("ndots:1",))
    assert container.hosts == ("10.0.0.5 db",)
    assert container.ulimits == (
        Ulimit(name="nofile", soft=1, hard=2),
        Ulimit(name="nproc", soft=3, hard=3),
    )
    assert container.labels == NAMESPACE | {"x": "y"}


def test_swap_is_what_the_limit_of_both_leaves_beyond_memory():
    def swap(text):
        return web(text).task.resources.memory_swap

    assert swap("tty: true") is None
    assert swap("mem_limit: 64M\nmemswap_limit: 96M") == MemorySwap(swap_bytes=32 << 20)
    assert swap("mem_limit: 64M\nmemswap_limit: -1\nmem_swappiness: 5") == MemorySwap(
        swap_bytes=-1, swappiness=5
    )
    assert swap("mem_limit: 64M\nmemswap_limit: 64M") == MemorySwap()


def test_the_oom_score_and_what_a_bind_takes_along():
    container = web(
        "oom_score_adj: -5\nvolumes: [{type: bind, source: /x, target: /x, bind: "
        "{recursive: disabled}}]"
    ).task.container
    assert container.oom_score_adj == -5
    assert container.mounts[0].recursion == MountRecursion.DISABLED


def test_mounts_of_every_kind():
    mounts = web(
        "volumes:\n- data:/data\n- shared:/s:ro\n- ./conf:/conf:ro\n- /anon\n"
        "- {type: tmpfs, target: /t, tmpfs: {size: 1M, mode: 01777}}\n"
        "- {type: bind, source: /x, target: /x, bind: {propagation: rslave}}\n"
        "tmpfs: ['/run:size=64k,mode=700']",
        "volumes: {data: {labels: {a: b}}, shared: {external: true}}",
    ).task.container.mounts
    assert mounts == (
        Mount(source="shop_data", target="/data", labels=NAMESPACE | {"a": "b"}),
        Mount(source="shared", target="/s", read_only=True),
        Mount(type=MountType.BIND, source="/srv/shop/conf", target="/conf", read_only=True),
        Mount(target="/anon"),
        Mount(type=MountType.TMPFS, target="/t", tmpfs_size_bytes=1 << 20, tmpfs_mode=0o1777),
        Mount(type=MountType.BIND, source="/x", target="/x", propagation="rslave"),
        Mount(type=MountType.TMPFS, target="/run", tmpfs_size_bytes=64 << 10, tmpfs_mode=0o700),
    )


def test_a_relative_path_of_the_host_is_warned_of():
    _, warnings = load("services: {w: {image: i, volumes: ['./a:/a', '~/b:/b', '/c:/c']}}")
    assert [w.split("stands for ")[1].split(",")[0] for w in warnings] == ["/srv/shop/a", "/b"]


def test_secrets_and_configs_with_their_content():
    stack, _ = load(
        "services:\n  web:\n    image: i\n"
        "    secrets: [a, {source: b, target: /b, uid: 1, gid: '2', mode: 0400}]\n"
        "    configs: [c, {source: d, target: etc/d}]\n"
        "secrets: {a: {file: a.txt}, b: {environment: PW, name: mine}, x: {external: true}}\n"
        "configs: {c: {content: 'hello ${WHO}'}, d: {file: ./sub/../d}}\n",
        files={"/srv/shop/a.txt": b"pw\n", "/srv/shop/d": b"\xff"},
        environ={"PW": "pw2", "WHO": "you"},
    )
    assert [(s.name, s.data) for s in stack.secrets] == [("mine", b"pw2"), ("shop_a", b"pw\n")]
    assert [(c.name, c.data) for c in stack.configs] == [
        ("shop_c", b"hello you"),
        ("shop_d", b"\xff"),
    ]
    assert stack.external_secrets == ("x",)
    container = stack.services[0].task.container
    assert container.secrets == (
        FileReference(name="mine", target="/b", uid="1", gid="2", mode=0o400),
        FileReference(name="shop_a", target="a"),
    )
    assert container.configs == (
        FileReference(name="shop_c", target="/c"),
        FileReference(name="shop_d", target="etc/d"),
    )


def test_templates_rotations_and_options_of_volumes():
    stack, _ = load(
        "services:\n  web:\n    image: i\n    volumes: ['data:/data']\n"
        "    secrets: [{source: a, x-rotation: live, x-signal: SIGHUP}]\n"
        "secrets: {a: {environment: PW, template_driver: golang}}\n"
        "configs: {c: {content: x, template_driver: golang}}\n"
        "volumes: {data: {driver: local, driver_opts: {type: nfs, device: ':/x', o: addr=h}}}\n",
        environ={"PW": "x"},
    )
    assert [s.template_driver for s in (*stack.secrets, *stack.configs)] == ["golang", "golang"]
    container = stack.services[0].task.container
    (reference,) = container.secrets
    assert (reference.follow, reference.signal) == (Follow.LIVE, "SIGHUP")
    (mount,) = container.mounts
    assert mount.driver_options == {"type": "nfs", "device": ":/x", "o": "addr=h"}


def test_a_secrets_content_is_never_shown():
    stack, _ = load(
        "services: {w: {image: i}}\nsecrets: {a: {environment: PW}}", environ={"PW": "hunter2"}
    )
    assert "hunter2" not in repr(stack)


def test_every_file_that_is_named_is_asked_for_once_per_use():
    text = (
        "services: {w: {image: i, env_file: [a.env, {path: /b, required: false}]}}\n"
        "secrets: {s: {file: ~/s}, t: {external: true}}\nconfigs: {c: {file: ../c}}"
    )
    tree = read([("c.yml", text)], {}).tree
    needed = needed_files(tree, "/srv/shop", {"HOME": "/home/u"})
    assert [(f.path, f.required) for f in needed] == [
        ("/home/u/s", True),
        ("/srv/c", True),
        ("/srv/shop/a.env", True),
        ("/b", False),
    ]


def test_health_checks():
    check = web("healthcheck: {test: curl x, interval: 1m, timeout: 2s, retries: 4}")
    assert check.task.container.healthcheck == Healthcheck(
        test=("CMD-SHELL", "curl x"), interval_seconds=60.0, timeout_seconds=2.0, retries=4
    )
    start = web("healthcheck: {start_period: 1m, start_interval: 500ms}")
    assert start.task.container.healthcheck == Healthcheck(
        start_period_seconds=60.0, start_interval_seconds=0.5
    )
    off = web("healthcheck: {disable: true}").task.container.healthcheck
    assert off == Healthcheck(test=("NONE",))


def test_ports_logging_and_platform():
    service = web(
        "ports: ['8080:80', {target: 53, protocol: udp, mode: host, published: '53', name: dns}]\n"
        "logging: {driver: json-file, options: {max-size: 10m}}\nplatform: linux/x86_64"
    )
    assert service.endpoint.ports == (
        PortConfig(
            name="dns",
            protocol=Protocol.UDP,
            target_port=53,
            published_port=53,
            publish_mode=PublishMode.HOST,
        ),
        PortConfig(target_port=80, published_port=8080),
    )
    assert (service.task.log_driver, service.task.log_options) == ("json-file", {"max-size": "10m"})
    assert service.task.placement.platforms == (Platform(os="linux", architecture="amd64"),)


@pytest.mark.parametrize(
    ("text", "top", "message"),
    [
        (
            "networks: [frnt]",
            "networks: {front: }",
            "compose.yml:4: services.web.networks.frnt: the network 'frnt' is not declared: "
            "did you mean front?",
        ),
        (
            "volumes: ['data:/d']",
            "",
            "compose.yml:4: services.web.volumes[0]: the volume 'data' is not declared: "
            "declare it under volumes at the top level",
        ),
        ("secrets: [pw]", "", "services.web.secrets[0]: the secret 'pw' is not declared"),
        (
            "configs: [{source: a, target: /x}, {source: b, target: /x}]",
            "configs: {a: {external: true}, b: {external: true}}",
            "services.web.configs[1]: another config is already shown as /x",
        ),
        ("deploy: {mode: global-job, replicas: 2}", "", "a global-job service runs once on every"),
        (
            "deploy: {mode: global-job}\nrestart: always",
            "",
            "on-failure or not at all, not 'always'",
        ),
        (
            "deploy: {mode: global-job, update_config: {parallelism: 2}}",
            "",
            "services.web.deploy.update_config: a job is not updated task by task",
        ),
        ("deploy: {mode: global, replicas: 2}", "", "a global service runs once on every node"),
        ("restart: sometimes", "", "must be no, always, unless-stopped, on-failure"),
        ("restart: always:3", "", "must be no, always, unless-stopped, on-failure"),
        ("ports: ['80:80', '80:81']", "", "the port 80 is published twice"),
        (
            "deploy: {endpoint_mode: dnsrr}\nports: ['80:80']",
            "",
            "a service with endpoint_mode dnsrr has no ingress: use mode: host",
        ),
        ("volumes: ['/a', '/b:/a']", "", "something is already mounted at /a"),
        ("tmpfs: ['/a:frob']", "", "'frob' is not an option here: use size= and mode="),
        ("platform: amd64", "", "must be a system and an architecture: linux/amd64"),
        (
            "volumes: ['d:/d']",
            "volumes: {d: {driver: nfs}}",
            "volumes.d.driver: must be local, not 'nfs'",
        ),
        (
            "volumes: [{type: volume, target: /d, bind: {propagation: rslave}}]",
            "",
            "services.web.volumes[0].bind: these are options of a bind, and this is a volume",
        ),
        (
            "",
            "networks: {default: {driver: bridge}}",
            "networks.default.driver: must be overlay, which spans the swarm, not 'bridge'",
        ),
        ("", "secrets: {s: {}}", "secrets.s: a secret needs exactly one of file, environment"),
        ("", "secrets: {s: {environment: NO}}", "the environment variable NO is not set"),
        ("", "configs: {c: {content: ''}}", "must be larger than 0 and less than 1024000 bytes"),
        (
            "",
            "secrets: {s: {external: true, file: x}}",
            "secrets.s: is external, so file cannot be set here",
        ),
        (
            "",
            "networks: {default: {ipam: {config: [{subnet: 10.0.0.1/24}]}}}",
            "networks.default.ipam.config[0].subnet: must be an IPv4 network such as",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text, top, message):
    assert message in refusal(text, top)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services: {}", "there is no service"),
        ("version: '3'", "there is no service"),
        ("services: {web: {build: .}}", "image is missing: a swarm runs images and builds none"),
        ("services: {w.x: {image: i}}", "'shop_w.x' cannot be a service's name"),
        (f"services: {{{'w' * 60}: {{image: i}}}}", "at most 63 letters"),
        (
            "services: {a: {image: i}}\n"
            "configs: {x: {content: x, name: n}, y: {content: y, name: n}}",
            "the name n is already taken in this stack",
        ),
    ],
)
def test_stacks_that_cannot_be(text, message):
    with pytest.raises(ComposeError) as caught:
        load(text)
    assert message in caught.value.message


def test_the_first_problem_of_each_object_is_told():
    with pytest.raises(ComposeError) as caught:
        load("services: {a: {build: .}, b: {image: i, restart: x}}\nsecrets: {s: {}}")
    assert len(caught.value.problems) == 3


def test_deploy_becomes_generic_resources():
    reserved = "{discrete_resource_spec: {kind: GPU, value: 2}}"
    resources = web(
        f"deploy: {{resources: {{reservations: {{generic_resources: [{reserved}]}}}}}}"
    ).task.resources
    assert resources.reservations.generic == (GenericResource(kind="GPU", count=2),)
    none = "{discrete_resource_spec: {kind: GPU, value: 0}}"
    assert "ask for 1 or more" in refusal(
        f"deploy: {{resources: {{reservations: {{generic_resources: [{none}]}}}}}}"
    )


def test_extensions_say_what_happens_when_a_node_is_lost():
    text = "deploy:\n  x-reschedule-after: 2m\n  x-on-partition: stop-after=30s"
    service = web(text)
    assert (service.reschedule_after_seconds, service.task.stop_after_seconds) == (120.0, 30.0)
    assert web("deploy: {x-on-partition: keep}").task.stop_after_seconds == 0
    assert "keep or stop-after=DURATION" in refusal("deploy: {x-on-partition: stop}")
