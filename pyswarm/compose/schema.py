"""The part of the compose specification that a swarm's stack uses, as tables.

After the specification (https://github.com/compose-spec/compose-spec) and Docker's schema 3.13.
Keys that a swarm does without are listed with the reason; there is no third way, so a key is
used, named in a warning, or refused.
"""

from __future__ import annotations

from typing import Final

from pyswarm.compose.marked import ComposeError, Marked
from pyswarm.compose.shape import Findings, Shape, listed, one, pairs, read, text_or_list
from pyswarm.compose.values import (
    COUNT,
    CPUS,
    DURATION,
    FLAG,
    INTEGER,
    MODE,
    OOM_SCORE,
    PERCENT,
    PORT,
    RATIO,
    SIZE,
    SWAP,
    TEXT,
    choice,
)
from pyswarm.model.kernel import PROPAGATIONS

_TEXT: Final = one(TEXT)
_FLAG: Final = one(FLAG)
_COUNT: Final = one(COUNT)
_DURATION: Final = one(DURATION)
_SIZE: Final = one(SIZE)
_TEXTS: Final = listed(_TEXT)

_NOT_YET: Final = "not available in this version"
_ONE_HOST: Final = "a setting of a single host, and a task may run on any"
_NO_DEVICES: Final = (
    "tasks get no devices of a host: reserve generic resources, and place the service by labels"
)
_IPV4: Final = "networks are IPv4 only"
_ADDRESSES: Final = "the swarm gives each task its addresses"

_EXTERNAL: Final = Shape(scalar=FLAG, fields={"name": _TEXT})

_UPDATE: Final = {
    "parallelism": _COUNT,
    "delay": _DURATION,
    "monitor": _DURATION,
    "max_failure_ratio": one(RATIO),
    "order": one(choice("stop-first", "start-first")),
    "x-progress-deadline": _DURATION,
}
_DISCRETE: Final = Shape(fields={"kind": _TEXT, "value": _COUNT})
_DEPLOY: Final = Shape(
    fields={
        "mode": one(choice("replicated", "global", "replicated-job", "global-job")),
        "replicas": _COUNT,
        "endpoint_mode": one(choice("vip", "dnsrr")),
        "x-reschedule-after": _DURATION,
        "x-on-partition": _TEXT,
        "labels": pairs(),
        "resources": Shape(
            fields={
                "limits": Shape(fields={"cpus": one(CPUS), "memory": _SIZE, "pids": one(INTEGER)}),
                "reservations": Shape(
                    fields={
                        "cpus": one(CPUS),
                        "memory": _SIZE,
                        "generic_resources": listed(
                            Shape(fields={"discrete_resource_spec": _DISCRETE})
                        ),
                    },
                    refused={"devices": _NOT_YET},
                ),
            }
        ),
        "restart_policy": Shape(
            fields={
                "condition": one(choice("none", "on-failure", "any")),
                "delay": _DURATION,
                "max_attempts": _COUNT,
                "window": _DURATION,
            }
        ),
        "update_config": Shape(
            fields=_UPDATE | {"failure_action": one(choice("continue", "pause", "rollback"))}
        ),
        "rollback_config": Shape(
            fields=_UPDATE | {"failure_action": one(choice("continue", "pause"))}
        ),
        "placement": Shape(
            fields={
                "constraints": _TEXTS,
                "preferences": listed(Shape(fields={"spread": _TEXT})),
                "max_replicas_per_node": _COUNT,
            }
        ),
    }
)
_HEALTHCHECK: Final = Shape(
    fields={
        "test": text_or_list(),
        "interval": _DURATION,
        "timeout": _DURATION,
        "start_period": _DURATION,
        "start_interval": _DURATION,
        "retries": _COUNT,
        "disable": _FLAG,
    },
)
_PORTS: Final = listed(
    Shape(
        scalar=TEXT,
        fields={
            "target": one(PORT),
            "published": _TEXT,
            "protocol": one(choice("tcp", "udp", "sctp")),
            "mode": one(choice("ingress", "host")),
            "name": _TEXT,
        },
        ignored={
            "app_protocol": "a hint that nothing here reads",
            "host_ip": "the port is published on every address",
        },
    )
)
_VOLUMES: Final = listed(
    Shape(
        scalar=TEXT,
        fields={
            "type": one(choice("bind", "volume", "tmpfs")),
            "source": _TEXT,
            "target": _TEXT,
            "read_only": _FLAG,
            "bind": Shape(
                fields={
                    "propagation": one(choice(*PROPAGATIONS)),
                    "recursive": one(choice("enabled", "disabled", "writable", "readonly")),
                },
                ignored={
                    "create_host_path": "a source that a node lacks is never made",
                    "selinux": "nodes are not labelled",
                },
            ),
            "volume": Shape(
                fields={"nocopy": _FLAG}, refused=dict.fromkeys(("subpath", "labels"), _NOT_YET)
            ),
            "tmpfs": Shape(fields={"size": _SIZE, "mode": one(MODE)}),
        },
        ignored={"consistency": "a setting of Docker Desktop"},
    )
)
_REFERENCES: Final = listed(
    Shape(
        scalar=TEXT,
        fields={
            **dict.fromkeys(("source", "target", "uid", "gid", "x-signal"), _TEXT),
            "mode": one(MODE),
            "x-rotation": one(choice("update", "live", "never")),
        },
    )
)
_SERVICE_NETWORKS: Final = Shape(
    items=_TEXT,
    values=Shape(
        null=True,
        fields={"aliases": _TEXTS},
        ignored={
            **dict.fromkeys(("ipv4_address", "ipv6_address", "link_local_ips"), _ADDRESSES),
            **dict.fromkeys(
                ("priority", "gw_priority", "mac_address", "interface_name", "driver_opts"),
                _NOT_YET,
            ),
        },
    ),
)
_ENV_FILES: Final = Shape(
    scalar=TEXT,
    items=Shape(
        scalar=TEXT, fields={"path": _TEXT, "required": _FLAG, "format": one(choice("raw"))}
    ),
)
_ULIMITS: Final = Shape(
    values=Shape(scalar=INTEGER, fields={"soft": one(INTEGER), "hard": one(INTEGER)})
)

_SERVICE_IGNORED: Final = {
    "build": "a swarm runs images and builds none",
    "container_name": "a service has many containers, each with a name of its own",
    "depends_on": "a swarm starts all services at once and restarts what fails",
    "expose": "every port of a service is open inside its networks",
    "links": "services find each other by name in their networks",
    "external_links": "services find each other by name in their networks",
    "pull_policy": "each node pulls what it lacks",
    "attach": "nothing is attached to",
    "develop": "a matter of building",
    "stdin_open": "nobody types into a service",
    **dict.fromkeys(("annotations", "label_file", "shm_size"), _NOT_YET),
    **dict.fromkeys(("post_start", "pre_stop", "provider", "models", "use_api_socket"), _NOT_YET),
    **dict.fromkeys(("blkio_config", "cpu_percent", "cpu_period", "cpu_quota"), _NOT_YET),
    **dict.fromkeys(("cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpuset"), _NOT_YET),
    "oom_kill_disable": _NOT_YET,
    "isolation": "a setting of Windows",
    **dict.fromkeys(("cgroup", "cgroup_parent", "cgroupns_mode", "domainname"), _ONE_HOST),
    **dict.fromkeys(("ipc", "mac_address", "network_mode", "pid"), _ONE_HOST),
    **dict.fromkeys(("runtime", "storage_opt", "userns_mode", "uts"), _ONE_HOST),
    "privileged": "tasks never get the whole host",
}
_SERVICE: Final = Shape(
    fields={
        "image": _TEXT,
        "command": text_or_list(),
        "entrypoint": text_or_list(),
        "environment": pairs(),
        "env_file": _ENV_FILES,
        "labels": pairs(),
        "ports": _PORTS,
        "volumes": _VOLUMES,
        "networks": _SERVICE_NETWORKS,
        "secrets": _REFERENCES,
        "configs": _REFERENCES,
        "deploy": _DEPLOY,
        "healthcheck": _HEALTHCHECK,
        "logging": Shape(
            fields={"driver": _TEXT, "options": Shape(values=Shape(scalar=TEXT, null=True))}
        ),
        "user": _TEXT,
        "group_add": _TEXTS,
        "working_dir": _TEXT,
        "hostname": _TEXT,
        "platform": _TEXT,
        "profiles": _TEXTS,
        "init": _FLAG,
        "read_only": _FLAG,
        "tty": _FLAG,
        "stop_signal": _TEXT,
        "stop_grace_period": _DURATION,
        "restart": _TEXT,
        "scale": _COUNT,
        "cap_add": _TEXTS,
        "cap_drop": _TEXTS,
        "security_opt": _TEXTS,
        "sysctls": pairs(),
        "ulimits": _ULIMITS,
        "tmpfs": text_or_list(),
        "dns": text_or_list(),
        "dns_search": text_or_list(),
        "dns_opt": _TEXTS,
        "extra_hosts": Shape(items=_TEXT, values=text_or_list()),
        "cpus": one(CPUS),
        "mem_limit": _SIZE,
        "mem_reservation": _SIZE,
        "pids_limit": one(INTEGER),
        "memswap_limit": one(SWAP),
        "mem_swappiness": one(PERCENT),
        "oom_score_adj": one(OOM_SCORE),
    },
    ignored=_SERVICE_IGNORED,
    refused={
        "extends": f"{_NOT_YET}: write the service out, or use a YAML anchor and <<",
        "volumes_from": f"{_NOT_YET}: name the volumes in each service",
        "volume_driver": f"{_NOT_YET}: nodes keep volumes on their own disk",
        "credential_spec": f"{_NOT_YET}: it is for Windows",
        # A container without the device that it was written for would fail, later and elsewhere.
        **dict.fromkeys(("device_cgroup_rules", "devices", "gpus"), _NO_DEVICES),
    },
)
_NETWORK: Final = Shape(
    null=True,
    fields={
        "name": _TEXT,
        "driver": _TEXT,
        "driver_opts": Shape(values=_TEXT),
        "internal": _FLAG,
        "attachable": _FLAG,
        "external": _EXTERNAL,
        "labels": pairs(),
        "ipam": Shape(
            fields={
                "driver": _TEXT,
                "config": listed(
                    Shape(
                        fields={"subnet": _TEXT, "gateway": _TEXT},
                        ignored=dict.fromkeys(("ip_range", "aux_addresses"), _ADDRESSES),
                    )
                ),
            },
            ignored={"options": _NOT_YET},
        ),
    },
    ignored=dict.fromkeys(("enable_ipv6", "enable_ipv4"), _IPV4),
)
_VOLUME: Final = Shape(
    null=True,
    fields={
        "name": _TEXT,
        "driver": _TEXT,
        "driver_opts": Shape(
            fields=dict.fromkeys(("type", "o", "device"), _TEXT),
        ),
        "external": _EXTERNAL,
        "labels": pairs(),
    },
)
_PAYLOAD: Final = {
    "name": _TEXT,
    "file": _TEXT,
    "environment": _TEXT,
    "external": _EXTERNAL,
    "labels": pairs(),
    "template_driver": one(choice("golang")),
}
_PAYLOAD_REFUSED: Final = dict.fromkeys(("driver", "driver_opts"), _NOT_YET)

COMPOSE: Final = Shape(
    fields={
        "name": _TEXT,
        "version": _TEXT,
        "services": Shape(values=_SERVICE),
        "networks": Shape(values=_NETWORK),
        "volumes": Shape(values=_VOLUME),
        "secrets": Shape(values=Shape(fields=_PAYLOAD, refused=_PAYLOAD_REFUSED)),
        "configs": Shape(
            values=Shape(fields=_PAYLOAD | {"content": _TEXT}, refused=_PAYLOAD_REFUSED)
        ),
    },
    ignored={"models": _NOT_YET},
    refused={"include": f"{_NOT_YET}: name the other file with another -c"},
)
"""A whole compose file."""


def check(tree: Marked) -> tuple[Marked, list[str]]:
    """The file with numbers and flags read, and warnings; raises one error with every problem."""
    findings = Findings()
    checked = read(tree, COMPOSE, findings)
    if findings.problems:
        raise ComposeError(*findings.problems)
    return checked, findings.warnings
