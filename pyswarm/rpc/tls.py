"""TLS 1.3 and nothing older, on every connection of this process.

grpcio has no setting for the version and takes TLS 1.2 when asked. But its list of cipher suites
concerns TLS 1.2 only, so a list of one suite that needs an RSA certificate, where all certificates
are ECDSA, leaves no way to speak 1.2. grpcio reads the variable when it first makes credentials,
and credentials are made in this package only, so it is enough to set it when this is imported.
The servers check the version of each call besides.
"""

from __future__ import annotations

import os

TLS_VERSION = b"TLSv1.3"

os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"
