"""pyswarm goes first: it must be imported before grpc, which test modules import on their own."""

import pyswarm  # noqa: F401
