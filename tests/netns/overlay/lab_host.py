"""One host of a test: a process in its own network and mount namespaces that runs an Overlay.

The parent sends (method, arguments, keywords) over a pipe and gets ("ok", result) or ("error",
exception). It ends with its parent's end of the pipe, and the namespaces end with it.
"""

import asyncio
import logging
import os
import sys
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pyswarm  # noqa: F401
from overlay.driver import Overlay
from pyswarm.daemon import interpreter
from pyswarm.lab import syscalls


class Host:
    def __init__(self):
        self.overlay = None
        self.slowest = 0.0

    async def open(self, node_id, address, nameservers=None, **more):
        self.overlay = Overlay(
            node_id,
            Path("/run/overlay"),
            Path("/run/state"),
            underlay_address=address,
            nameservers=nameservers,
            **more,
        )
        await self.overlay.start()

    async def call(self, method, *arguments, **keywords):
        result = getattr(self.overlay, method)(*arguments, **keywords)
        return await result if asyncio.iscoroutine(result) else result

    async def timed_attach(self, count, network_id, addresses):
        from pyswarm.model import NetworkAttachment

        start = time.perf_counter()
        for place in range(count):
            wish = NetworkAttachment(network_id=network_id, address=addresses[place])
            await self.overlay.attach(f"many{place}", [wish])
        return (time.perf_counter() - start) / count


async def main(pipe):
    loop = asyncio.get_running_loop()
    host = Host()
    while True:
        try:
            method, arguments, keywords = await loop.run_in_executor(None, pipe.recv)
        except EOFError:
            return
        try:
            answer = ("ok", await getattr(host, method)(*arguments, **keywords))
        except Exception as error:
            answer = ("error", error)
        await loop.run_in_executor(None, partial(pipe.send, answer))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tmpfs", "/run", "tmpfs")
    pipe = Connection(int(sys.argv[1]))
    pipe.send(("ok", os.getpid()))
    interpreter.run(main(pipe))
