"""The merged compose file to the records of a stack."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TypeVar

from pyswarm.compose.container import declared_networks
from pyswarm.compose.context import Context, is_external
from pyswarm.compose.marked import ComposeError, Marked
from pyswarm.compose.services import service_spec
from pyswarm.compose.stack import Stack
from pyswarm.model import NetworkSpec, PayloadSpec, ServiceSpec
from pyswarm.model.payload import CONFIG_BYTES_MAX, SECRET_BYTES_MAX

Made = TypeVar("Made", NetworkSpec, PayloadSpec, ServiceSpec)


def convert(tree: Marked, context: Context) -> Stack:
    """The stack; raises one ComposeError with the first problem of each object.

    Warnings are appended to `context.warnings`. Networks that no service uses are not made.
    """
    problems: list[str] = []
    services = tree.at("services").entries
    if not services:
        raise tree.error("there is no service: a stack needs at least one under services")
    for name in ("volumes", "networks", "secrets", "configs"):
        for declaration in tree.at(name).entries.values():
            _check_external(declaration, problems)

    def each(
        entries: dict[str, Marked], make: Callable[[str, Marked, Context], Made]
    ) -> tuple[Made, ...]:
        made: dict[str, Made] = {}
        for key, item in sorted(entries.items()):
            try:
                spec = make(key, item, context)
                if spec.name in made:
                    raise item.error(f"the name {spec.name} is already taken in this stack")
                made[spec.name] = spec
            except ComposeError as error:
                problems.extend(error.problems)
        return tuple(made[name] for name in sorted(made))

    networks = declared_networks(tree)
    used = {name for service in services.values() for name in _networks_of(service)}
    wanted = {key: item for key, item in networks.items() if key in used}
    stack = Stack(
        name=context.stack,
        networks=each(_owned(wanted), _network),
        secrets=each(_owned(tree.at("secrets").entries), _secret),
        configs=each(_owned(tree.at("configs").entries), _config),
        services=each(services, lambda key, item, ctx: service_spec(key, item, tree, ctx)),
        external_networks=_external(wanted, context),
        external_secrets=_external(tree.at("secrets").entries, context),
        external_configs=_external(tree.at("configs").entries, context),
    )
    if problems:
        raise ComposeError(*problems)
    return stack


def _networks_of(service: Marked) -> list[str]:
    return list(service.at("networks").entries) or ["default"]


def _owned(entries: dict[str, Marked]) -> dict[str, Marked]:
    return {key: item for key, item in entries.items() if not is_external(item)}


def _external(entries: dict[str, Marked], context: Context) -> tuple[str, ...]:
    names = {context.scoped(key, item) for key, item in entries.items() if is_external(item)}
    return tuple(sorted(names))


def _check_external(declaration: Marked, problems: list[str]) -> None:
    if not is_external(declaration):
        return
    extra = sorted(declaration.entries.keys() - {"external", "name"})
    if extra:
        problems.append(
            declaration.problem(
                f"is external, so {extra[0]} cannot be set here: remove one of both"
            )
        )


def _network(key: str, item: Marked, context: Context) -> NetworkSpec:
    pools = item.at("ipam", "config").items
    if len(pools) > 1:
        raise pools[1].error("a network has one subnet: remove the others")
    pool = pools[0] if pools else item.make("ipam", None)
    driver = item.at("driver")
    if driver.text not in ("", "overlay"):
        raise driver.error(f"must be overlay, which spans the swarm, not '{driver.text}'")
    if item.at("ipam", "driver").text not in ("", "default"):
        raise item.at("ipam", "driver").error("must be default, there is no other")
    return NetworkSpec(
        name=context.scoped(key, item),
        labels=context.labels(item.at("labels")),
        driver_options=item.at("driver_opts").text_entries,
        subnet=_subnet(pool.at("subnet")),
        gateway=pool.at("gateway").text,
        internal=item.at("internal").flag,
        attachable=item.at("attachable").flag,
    )


def _subnet(item: Marked) -> str:
    try:
        return str(ipaddress.IPv4Network(item.text)) if item.text else ""
    except ValueError as error:
        raise item.error(f"must be an IPv4 network such as 10.5.0.0/24: {error}") from error


def _secret(key: str, item: Marked, context: Context) -> PayloadSpec:
    return _payload(key, item, context, "secret", SECRET_BYTES_MAX)


def _config(key: str, item: Marked, context: Context) -> PayloadSpec:
    return _payload(key, item, context, "config", CONFIG_BYTES_MAX)


def _payload(key: str, item: Marked, context: Context, kind: str, bytes_max: int) -> PayloadSpec:
    sources = [name for name in ("file", "environment", "content") if name in item.entries]
    if len(sources) != 1:
        choices = "file, environment" + (", content" if kind == "config" else "")
        raise item.error(f"a {kind} needs exactly one of {choices}, external")
    source = item.at(sources[0])
    if sources[0] == "file":
        data = context.files.get(context.absolute(source.text), b"")
    elif sources[0] == "content":
        data = source.text.encode()
    elif source.text not in context.environ:
        raise source.error(f"the environment variable {source.text} is not set")
    else:
        data = context.environ[source.text].encode()
    # The bounds of the control API, told here with the file and line that it does not know.
    if not 0 < len(data) < bytes_max:
        raise source.error(
            f"the content of a {kind} must be larger than 0 and less than {bytes_max} bytes, "
            f"not {len(data)}"
        )
    return PayloadSpec(
        name=context.scoped(key, item),
        labels=context.labels(item.at("labels")),
        data=data,
        template_driver=item.at("template_driver").text,
    )
