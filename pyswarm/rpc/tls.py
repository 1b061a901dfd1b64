"""TLS 1.3 and nothing older, on every connection of this process.

grpcio has no setting for the version and speaks TLS 1.2 with whoever asks. But its list of cipher
suites concerns TLS 1.2 only, so a list of one suite that needs an RSA certificate, where all
certificates are ECDSA, leaves no way to speak 1.2. grpcio reads the list from the environment when
it is imported and never again (measured with 1.85), so `pyswarm/__init__.py` sets it. Here is the
check that it came in time; the servers check the version of each call besides.
"""

from __future__ import annotations

import pyswarm

TLS_VERSION = b"TLSv1.3"


def require_tls_1_3() -> None:
    """Called before credentials are made: a process that could speak TLS 1.2 speaks nothing."""
    if not pyswarm.TLS_1_3_ONLY:
        raise RuntimeError(
            "grpc was imported before pyswarm and would accept TLS 1.2: import pyswarm first"
        )
