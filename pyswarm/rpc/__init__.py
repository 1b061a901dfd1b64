"""gRPC as pyswarm uses it: mutual TLS 1.3, callers with names, errors that survive the wire."""

from pyswarm.rpc.authorize import Access, Authorizer, Table, methods
from pyswarm.rpc.channels import (
    MANAGER,
    ChannelPool,
    local_channel,
    secure_channel,
    trusting_channel,
)
from pyswarm.rpc.credentials import Credentials, Provider, check_time
from pyswarm.rpc.errors import LEADER_KEY, ErrorMapper, from_rpc, swarm_errors
from pyswarm.rpc.handlers import Server
from pyswarm.rpc.identity import caller, caller_or_none, peer_identity, read_identity
from pyswarm.rpc.limits import Rate, RateLimit
from pyswarm.rpc.server import Bound, bootstrap_server, local_server, mutual_server

__all__ = [
    "Credentials",
    "Provider",
    "check_time",
    "read_identity",
    "peer_identity",
    "caller",
    "caller_or_none",
    "Access",
    "Table",
    "Authorizer",
    "methods",
    "MANAGER",
    "secure_channel",
    "trusting_channel",
    "local_channel",
    "ChannelPool",
    "Bound",
    "mutual_server",
    "bootstrap_server",
    "local_server",
    "Server",
    "Rate",
    "RateLimit",
    "ErrorMapper",
    "LEADER_KEY",
    "from_rpc",
    "swarm_errors",
]
