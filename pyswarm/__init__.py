"""pyswarm: services and stacks on a cluster of machines."""

import os as _os
import sys as _sys

__version__ = "0.1.0"

_SUITE = "ECDHE-RSA-AES256-GCM-SHA384"
# TLS 1.3 only (the argument is in pyswarm.rpc.tls). grpcio reads this once, when it is imported,
# so it stands in the one module that runs before every other of ours.
TLS_1_3_ONLY = "grpc" not in _sys.modules or _os.environ.get("GRPC_SSL_CIPHER_SUITES") == _SUITE
_os.environ["GRPC_SSL_CIPHER_SUITES"] = _SUITE
# Its library tells of every connection that a peer has ended, and the terminal is the user's.
_os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
