"""Networks, published ports, and how the service's name resolves."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable

from pyswarm.cli.flags.declared import Listed, Single, choice, edited
from pyswarm.cli.pairs import port, split_fields
from pyswarm.model import EndpointSpec, NetworkAttachmentConfig, ResolutionMode

SINGLE = (Single("endpoint-mode", None, "Endpoint mode (vip or dnsrr)"),)
LISTS = (
    Listed("publish", "-p", "Publish a port as a node port"),
    Listed("network", None, "Network attachments"),
)


def edit_networks(
    args: Namespace, old: Iterable[NetworkAttachmentConfig]
) -> tuple[NetworkAttachmentConfig, ...]:
    """The networks of the tasks after the flags."""
    return edited(args, "network", old, _network, lambda n: n.target)


def _network(text: str) -> NetworkAttachmentConfig:
    if "=" not in text:
        return NetworkAttachmentConfig(target=text)
    fields = split_fields(text, {"name", "alias"}, "network", repeated={"alias"})
    return NetworkAttachmentConfig(
        target="".join(fields.get("name", [])), aliases=tuple(fields.get("alias", []))
    )


def edit_endpoint(args: Namespace, old: EndpointSpec) -> EndpointSpec:
    """The endpoint after the flags."""
    mode = old.mode
    if args.endpoint_mode is not None:
        mode = choice(ResolutionMode, args.endpoint_mode, "endpoint-mode")
    return EndpointSpec(
        mode=mode,
        ports=edited(
            args,
            "publish",
            old.ports,
            port,
            lambda p: (p.target_port, p.protocol),
            lambda text: (port(text).target_port, port(text).protocol),
        ),
    )
