"""The daemon: takes its directories, answers on its socket, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from agent.runtime.runtime import ContainerdRuntime
from pyswarm.api.v1 import local_pb2_grpc, recovery_pb2_grpc
from pyswarm.daemon import interpreter
from pyswarm.daemon.recovery import RecoverableNode, RecoveryServer
from pyswarm.daemon.server import ControlHere, LocalServer
from pyswarm.daemon.settings import Settings
from pyswarm.errors import FailedPrecondition, SwarmError
from pyswarm.rpc import local_server

log = logging.getLogger(__name__)

STOP_SECONDS = 20.0


@contextmanager
def _directories(settings: Settings) -> Iterator[None]:
    """Make the directories and hold the state directory for this process alone."""
    if os.geteuid() != 0:
        raise FailedPrecondition(
            "the daemon needs root, for network namespaces and containers: use sudo"
        )
    for path in (settings.state_directory, settings.run_directory):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
        except OSError as error:
            raise FailedPrecondition(
                f"cannot use the directory {path}: {error.strerror}"
            ) from error
    lock = settings.state_directory / "lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FailedPrecondition(
                f"another pyswarm daemon uses the state directory {settings.state_directory}: "
                "stop it first, or give this one another --state-dir"
            ) from error
        yield


async def _runtime_name(runtime: ContainerdRuntime) -> str:
    try:
        info = await runtime.describe()
    except SwarmError as error:
        # Not the end: a manager works without it, and the agent waits for it and says so.
        log.error("%s", error.message)
        return ""
    return f"{info.name} {info.version}"


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runtime = ContainerdRuntime(
        settings.containerd_socket,
        settings.state_directory,
        settings.run_directory,
        cgroup_parent=settings.cgroup_parent,
        insecure_registries=settings.insecure_registries,
    )
    await runtime.connect()
    node = RecoverableNode(settings, runtime, await _runtime_name(runtime))
    node.images = runtime.inventory
    server = local_server(settings.socket_path)
    local_pb2_grpc.add_LocalServicer_to_server(LocalServer(node), server)
    recovery_pb2_grpc.add_RecoveryServicer_to_server(RecoveryServer(node), server)
    server.add_generic_rpc_handlers((ControlHere(node),))
    await node.start()
    await server.start()
    log.info("pyswarm daemon ready on %s", settings.socket_path)
    try:
        ends = [asyncio.ensure_future(event.wait()) for event in (stop, node.fatal)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if node.fatal.is_set():
            raise SwarmError(node.problem)
        log.info("stopping; containers go on running")
    finally:
        await server.stop(0)
        async with asyncio.timeout(STOP_SECONDS):
            await node.stop()
        await runtime.close()
        settings.socket_path.unlink(missing_ok=True)


def run(settings: Settings, debug: bool = False) -> int:
    """Run until a signal; the exit code."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    # Each task has a handful of files, and a shell's soft limit of 1024 is for programs that use
    # select(2). Containers have limits of their own.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with _directories(settings):
            interpreter.run(_serve(settings))
    except TimeoutError:
        log.error("stopping took longer than %g s", STOP_SECONDS)
        return 1
    return 0
