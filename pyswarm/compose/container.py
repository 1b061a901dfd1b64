"""What a service's containers look like: command, environment, mounts, files, networks."""

from __future__ import annotations

from typing import Final

from pyswarm.compose import dotenv
from pyswarm.compose.context import Context, is_external, undefined
from pyswarm.compose.marked import Marked
from pyswarm.compose.values import duration_seconds, size_bytes, whole_number
from pyswarm.model import (
    ContainerSpec,
    FileReference,
    Follow,
    Healthcheck,
    Mount,
    MountRecursion,
    MountType,
    NetworkAttachmentConfig,
    Ulimit,
)

_NO_NEW_PRIVILEGES: Final = ("no-new-privileges", "no-new-privileges:true")
_TMPFS_FLAGS: Final = ("rw", "noexec", "nosuid", "nodev")
"""What a tmpfs is anyway."""


def container_spec(item: Marked, tree: Marked, context: Context) -> ContainerSpec:
    """The container of a service; raises ComposeError with the first problem."""
    grace = item.at("stop_grace_period").text
    return ContainerSpec(
        image=item.at("image").text,
        labels=context.labels(item.at("labels")),
        command=item.at("entrypoint").texts,
        args=item.at("command").texts,
        hostname=item.at("hostname").text,
        env=_environment(item, context),
        workdir=item.at("working_dir").text,
        user=item.at("user").text,
        groups=item.at("group_add").texts,
        init=item.at("init").flag,
        tty=item.at("tty").flag,
        read_only=item.at("read_only").flag,
        stop_signal=item.at("stop_signal").text,
        stop_grace_period_seconds=duration_seconds(grace) if grace else 10.0,
        mounts=_mounts(item, tree, context),
        secrets=_references(item, tree, context, "secret"),
        configs=_references(item, tree, context, "config"),
        hosts=tuple(_host_line(text) for text in item.at("extra_hosts").texts),
        dns_nameservers=item.at("dns").texts,
        dns_search=item.at("dns_search").texts,
        dns_options=item.at("dns_opt").texts,
        healthcheck=_healthcheck(item.at("healthcheck")),
        sysctls=item.at("sysctls").text_entries,
        capability_add=item.at("cap_add").texts,
        capability_drop=item.at("cap_drop").texts,
        ulimits=_ulimits(item.at("ulimits")),
        oom_score_adj=item.at("oom_score_adj").whole(),
        no_new_privileges=_no_new_privileges(item, context),
    )


def _environment(item: Marked, context: Context) -> tuple[str, ...]:
    """NAME=value, sorted; `environment` wins over files, later files over earlier ones."""
    values: dict[str, str | None] = {}
    for entry in item.at("env_file").items:
        data = context.files.get(context.absolute(entry.at("path").text))
        if data is None:
            continue
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise entry.error(f"{entry.at('path').text} is not UTF-8 text") from error
        raw = entry.at("format").text == "raw"
        values |= dotenv.read(text, entry.at("path").text, context.environ, raw=raw)
    own = item.at("environment")
    values |= {n: None if entry.absent else entry.text for n, entry in own.entries.items()}
    lines = []
    for name, value in sorted(values.items()):
        if value is None:
            value = context.environ.get(name)
        if value is None:
            context.warn(own, f"{name} has no value here or in the environment, and is left out")
        else:
            lines.append(f"{name}={value}")
    return tuple(lines)


def _mounts(item: Marked, tree: Marked, context: Context) -> tuple[Mount, ...]:
    mounts: dict[str, Mount] = {}
    for entry in item.at("volumes").items:
        made = _mount(entry, tree, context)
        if made.target in mounts:
            raise entry.error(f"something is already mounted at {made.target}")
        mounts[made.target] = made
    for entry in item.at("tmpfs").items:
        made = _tmpfs(entry)
        if made.target in mounts:
            raise entry.error(f"something is already mounted at {made.target}")
        mounts[made.target] = made
    return tuple(mounts.values())


def _mount(entry: Marked, tree: Marked, context: Context) -> Mount:
    kind = MountType[entry.at("type").text.upper()]
    source, target = entry.at("source").text, entry.at("target").text
    options = {"bind": MountType.BIND, "volume": MountType.VOLUME, "tmpfs": MountType.TMPFS}
    for name, belongs_to in options.items():
        if name in entry.entries and belongs_to != kind:
            raise entry.at(name).error(
                f"these are options of a {name}, and this is a {kind.name.lower()}"
            )
    labels: dict[str, str] = {}
    driver_options: dict[str, str] = {}
    if kind == MountType.TMPFS and source:
        raise entry.error("a tmpfs has no source: remove it")
    if kind == MountType.BIND:
        if not source:
            raise entry.error("source is missing: name the host's path")
        if not source.startswith("/"):
            source = context.absolute(source)
            context.warn(entry, f"stands for {source}, which must be on every node that runs it")
    elif source:
        declaration = _volume(entry, source, tree)
        source = context.scoped(source, declaration)
        if not is_external(declaration):
            labels = context.labels(declaration.at("labels"))
            driver_options = declaration.at("driver_opts").text_entries
    return Mount(
        type=kind,
        source=source,
        target=target,
        read_only=entry.at("read_only").flag,
        propagation=entry.at("bind", "propagation").text,
        recursion=MountRecursion[(entry.at("bind", "recursive").text or "enabled").upper()],
        no_copy=entry.at("volume", "nocopy").flag,
        tmpfs_size_bytes=size_bytes(entry.at("tmpfs", "size").text or "0"),
        tmpfs_mode=entry.at("tmpfs", "mode").whole(),
        labels=labels,
        driver_options=driver_options,
    )


def _volume(entry: Marked, name: str, tree: Marked) -> Marked:
    volumes = tree.at("volumes").entries
    if name not in volumes:
        raise undefined(entry, "volume", name, volumes)
    driver = volumes[name].at("driver")
    if driver.text not in ("", "local"):
        raise driver.error(f"must be local, not '{driver.text}': nodes keep volumes on their disk")
    return volumes[name]


def _tmpfs(entry: Marked) -> Mount:
    """TARGET[:OPTION,...] with size= and mode=."""
    target, _, options = entry.text.partition(":")
    if not target.startswith("/"):
        raise entry.error(f"the target in the container must be an absolute path, not '{target}'")
    size = mode = 0
    for option in options.split(",") if options else ():
        name, _, value = option.partition("=")
        try:
            if name == "size":
                size = size_bytes(value)
            elif name == "mode":
                mode = whole_number(value if value.startswith("0") else "0" + value)
            elif option not in _TMPFS_FLAGS:
                raise ValueError(option)
        except ValueError as error:
            raise entry.error(f"'{option}' is not an option here: use size= and mode=") from error
    return Mount(type=MountType.TMPFS, target=target, tmpfs_size_bytes=size, tmpfs_mode=mode)


def _references(
    item: Marked, tree: Marked, context: Context, kind: str
) -> tuple[FileReference, ...]:
    declared = tree.at(f"{kind}s").entries
    references = {}
    for entry in item.at(f"{kind}s").items:
        source = entry.at("source").text
        if source not in declared:
            raise undefined(entry, kind, source, declared)
        # A secret appears under its short name in /run/secrets, a config in the root directory.
        target = entry.at("target").text or (source if kind == "secret" else f"/{source}")
        if target in references:
            raise entry.error(f"another {kind} is already shown as {target}")
        references[target] = FileReference(
            name=context.scoped(source, declared[source]),
            target=target,
            uid=entry.at("uid").text or "0",
            gid=entry.at("gid").text or "0",
            mode=entry.at("mode").whole(0o444),
            follow=Follow[entry.at("x-rotation").text.upper() or "AS_ROTATED"],
            signal=entry.at("x-signal").text,
        )
    return tuple(references[target] for target in sorted(references))


def _host_line(text: str) -> str:
    name, _, address = text.partition("=")
    return f"{address} {name}"


def _healthcheck(item: Marked) -> Healthcheck | None:
    if item.at("disable").flag:
        return Healthcheck(test=("NONE",))
    if not item.entries:
        return None

    def seconds(key: str) -> float:
        return duration_seconds(item.at(key).text or "0")

    return Healthcheck(
        test=item.at("test").texts,
        interval_seconds=seconds("interval"),
        timeout_seconds=seconds("timeout"),
        start_period_seconds=seconds("start_period"),
        retries=item.at("retries").whole(),
        start_interval_seconds=seconds("start_interval"),
    )


def _ulimits(item: Marked) -> tuple[Ulimit, ...]:
    limits = []
    for name, limit in sorted(item.entries.items()):
        soft, hard = limit.at("soft"), limit.at("hard")
        if soft.absent or hard.absent:
            raise limit.error("needs both soft and hard")
        limits.append(Ulimit(name=name.lower(), soft=soft.whole(), hard=hard.whole()))
    return tuple(limits)


def _no_new_privileges(item: Marked, context: Context) -> bool:
    wanted = False
    for option in item.at("security_opt").items:
        if option.text in _NO_NEW_PRIVILEGES:
            wanted = True
        else:
            context.warn(option, f"ignored: {option.text} is not available in this version")
    return wanted


def declared_networks(tree: Marked) -> dict[str, Marked]:
    """The networks by their short names, with the `default` one that needs no declaration."""
    networks = tree.at("networks")
    return {"default": networks.make("default", None), **networks.entries}


def service_networks(
    key: str, item: Marked, tree: Marked, context: Context
) -> tuple[NetworkAttachmentConfig, ...]:
    """The service's networks by their real names, sorted; in each it has its short name too."""
    declared = declared_networks(tree)
    attachments = {}
    for name, entry in (item.at("networks").entries or {"default": item}).items():
        if name not in declared:
            raise undefined(entry, "network", name, declared)
        aliases = dict.fromkeys((*entry.at("aliases").texts, key)) if entry is not item else [key]
        target = context.scoped(name, declared[name])
        attachments[target] = NetworkAttachmentConfig(target=target, aliases=tuple(aliases))
    return tuple(attachments[target] for target in sorted(attachments))
