"""Prints listings in the form that a command's flags ask for."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence

from pyswarm.cli import listings
from pyswarm.cli.listings import CountedService
from pyswarm.cli.node_view import NodeFacts
from pyswarm.cli.render import Listing
from pyswarm.model import Config, Network, Node, Secret, Service, Task


def _show(args: Namespace, listing: Listing) -> None:
    text = listing.text(args.format, quiet=getattr(args, "quiet", False))
    if text:
        print(text)


def show_nodes(
    args: Namespace, nodes: Iterable[Node], self_id: str, facts: Mapping[str, NodeFacts]
) -> None:
    """`node ls`."""
    _show(args, listings.nodes(nodes, self_id, facts))


def show_services(args: Namespace, services: Iterable[CountedService]) -> None:
    """`service ls` and `stack services`."""
    _show(args, listings.services(services))


def show_tasks(args: Namespace, tasks: Iterable[Task], node_names: Mapping[str, str]) -> None:
    """`service ps`, `node ps` and `stack ps`; empty `node_names` shows ids."""
    _show(args, listings.tasks(tasks, node_names, time.time(), full=args.no_trunc))


def show_networks(args: Namespace, networks: Iterable[Network]) -> None:
    """`network ls`."""
    _show(args, listings.networks(networks, full=args.no_trunc))


def show_payloads(
    args: Namespace, kind: type[Secret | Config], payloads: Sequence[Secret | Config]
) -> None:
    """`secret ls` and `config ls`."""
    _show(args, listings.payloads(kind, payloads, time.time()))


def show_stacks(args: Namespace, services: Iterable[Service]) -> None:
    """`stack ls`, counted from all services."""
    _show(args, listings.stacks(services))
