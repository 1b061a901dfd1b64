"""`writes_per_s_*`, `write_ms_p50_1`: proposals in the leader of three managers, a process each."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from figures import Measured

from certs.disk import CertificateDirectory
from pyswarm.model.states import NodeRole
from pyswarm.testing.trust import Trust

MEMBERS = 3
STOP_SECONDS = 20.0


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


class Member:
    """A manager's process."""

    def __init__(self, number: int, root: Path, ports: list[int], profile: Path | None) -> None:
        argv = [sys.executable, str(Path(__file__).with_name("raft_member.py"))]
        argv += [str(number), str(root), *map(str, ports)]
        argv += ["--profile", f"{profile}.{number}"] if profile is not None else []
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, *words: object) -> dict[str, float]:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"a manager ended with code {self._process.wait()}"
        answer: dict[str, float] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End of input ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def measure(
    clients: list[int], seconds: float, progress: Callable[[str], None], profile: Path | None = None
) -> dict[str, Measured]:
    """The rate for each number of writers, on a disk that syncs (not a tmpfs)."""
    results = {}
    trust = Trust("bench")
    build = Path("build")
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build, prefix="bench-raft-") as name, ExitStack() as stack:
        root = Path(name).resolve()
        ports = free_ports(MEMBERS)
        members = []
        for number in range(1, MEMBERS + 1):
            directory = root / str(number)
            directory.mkdir(mode=0o700)
            CertificateDirectory(directory).store(trust.node(f"node{number}", NodeRole.MANAGER))
            members.append(Member(number, root, ports, profile))
            stack.callback(members[-1].stop)
        leading = [member for member in members if member.ask("lead")["leads"]]
        assert len(leading) == 1, f"{len(leading)} managers lead"
        leading[0].ask("write", 16, 0.5)  # connections and caches are warm after this
        for count in clients:
            answer = leading[0].ask("write", count, seconds)
            rate, median = answer["per_second"], answer["ms_p50"]
            progress(f"{count} writers: {rate:,.0f} writes/s, half of them within {median:.1f} ms")
            results[f"writes_per_s_{count}"] = Measured(rate)
            results[f"write_ms_p50_{count}"] = Measured(median)
    return results
