"""pyswarm: services and stacks on a cluster of machines.

grpcio takes these settings from the environment when it is imported and never again, so they stand
in the one module that runs before every other of ours.
"""

import os as _os
import sys as _sys
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

__version__ = "0.1.0"

_SUITE = "ECDHE-RSA-AES256-GCM-SHA384"
# TLS 1.3 only: the argument is in pyswarm.rpc.tls.
TLS_1_3_ONLY = "grpc" not in _sys.modules or _os.environ.get("GRPC_SSL_CIPHER_SUITES") == _SUITE
_os.environ["GRPC_SSL_CIPHER_SUITES"] = _SUITE

# The library tells of every connection that a peer has ended, and the terminal is the user's.
_os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

_ENGINES = ("listener", "client", "callback_cq", "for_all_other_endpoints")
_MEASURED = '"1.85.'


def _save_threads() -> None:
    """Sockets are served by the thread that waits for calls, as in all earlier versions of grpcio.
    Handing each message to a pool of threads and back costs a fifth of the time of a call. Only in
    the versions in which this was measured: a name that is unknown prints a line on each start.
    """
    found = _find_spec("grpc")
    if found is None or found.origin is None:
        return
    about = _Path(found.origin).with_name("_grpcio_metadata.py")
    if about.is_file() and _MEASURED in about.read_text():
        without = ",".join(f"-event_engine_{name}" for name in _ENGINES)
        _os.environ.setdefault("GRPC_EXPERIMENTS", without)


_save_threads()
