"""The control API's part in the rotation of the root; the work is the certificate authority's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from manager.control import view_of
from pyswarm.api.v1 import control_pb2
from pyswarm.model import Cluster, ClusterSpec, ExternalCA
from pyswarm.wire import from_message


class Roots(Protocol):
    """What the certificate authority does for the control API."""

    def settle(self, cluster: Cluster, spec: ClusterSpec) -> ClusterSpec:
        """New settings with their external CAs checked and whole."""
        ...

    async def rotate(
        self,
        certificate_pem: bytes,
        key_pem: bytes,
        external_cas: Iterable[ExternalCA],
        life_seconds: float,
    ) -> None:
        """Begin a rotation of the root; 0 and empty values are the swarm's own choice."""
        ...


async def rotate_root(roots: Roots, request: control_pb2.RotateRootRequest) -> None:
    """Begin the rotation that a request asks for; InvalidArgument where it asks for nonsense."""
    life = request.certificate_life_seconds
    if life:
        view_of.check_cluster(replace(ClusterSpec(), certificate_life_seconds=life))
    cas = [from_message(ExternalCA, each) for each in request.external_cas]
    await roots.rotate(request.certificate, request.key, cas, life)
