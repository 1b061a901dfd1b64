"""Networks, published ports, and how the service's name resolves."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace

from pyswarm.cli.flags.declared import Listed, Single, edited, member_of, with_given
from pyswarm.cli.flags.ports import ports
from pyswarm.cli.pairs import split_fields
from pyswarm.errors import InvalidArgument
from pyswarm.model import EndpointSpec, NetworkAttachmentConfig, PortConfig, ResolutionMode

SINGLE = (Single("endpoint-mode", member_of(ResolutionMode), "Endpoint mode (vip or dnsrr)"),)
LISTS = (
    Listed("publish", "-p", "Publish a port as a node port", read=ports, read_removed=ports),
    Listed("network", None, "Network attachments", read=lambda text: _network(text)),
)


def edit_networks(
    args: Namespace, old: Iterable[NetworkAttachmentConfig]
) -> tuple[NetworkAttachmentConfig, ...]:
    """The networks of the tasks after the flags."""
    return edited(args, "network", old, _network, lambda n: n.target)


def _network(text: str) -> NetworkAttachmentConfig:
    if "=" not in text:
        return NetworkAttachmentConfig(target=text)
    fields = split_fields(
        text, {"name", "alias", "driver-opt"}, "network", repeated={"alias", "driver-opt"}
    )
    if not fields.get("name", [""])[0]:
        raise InvalidArgument("network name/id is not specified")
    if "driver-opt" in fields:
        raise InvalidArgument("the overlay of a swarm has no driver options for an attachment")
    return NetworkAttachmentConfig(
        target=fields["name"][0], aliases=tuple(dict.fromkeys(fields.get("alias", ())))
    )


def edit_endpoint(args: Namespace, old: EndpointSpec) -> EndpointSpec:
    """The endpoint after the flags."""
    return replace(with_given(old, args, {"mode": "endpoint-mode"}), ports=_ports(args, old.ports))


def _ports(args: Namespace, old: Iterable[PortConfig]) -> tuple[PortConfig, ...]:
    """A port is removed by its target; a published port that is named again gets a new target."""
    removed = {
        (port.target_port, port.protocol)
        for text in getattr(args, "publish_rm", ())
        for port in ports(text)
    }
    texts = [*getattr(args, "publish_add", ()), *(getattr(args, "publish", None) or ())]
    # Two of them for one published port are left to the manager, which refuses them.
    given = tuple(dict.fromkeys(port for text in texts for port in ports(text)))
    replaced = {_place(port) for port in given}
    kept = (port for port in old if (port.target_port, port.protocol) not in removed)
    return (*(port for port in kept if _place(port) not in replaced), *given)


def _place(port: PortConfig) -> tuple[object, ...]:
    where = port.published_port or f"any for {port.target_port}"
    return where, port.protocol, port.publish_mode
