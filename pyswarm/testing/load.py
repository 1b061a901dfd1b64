"""A load generator: many short HTTP connections at once, every failure remembered.

It needs the standard library alone, so that a copy of the file runs inside a test's container.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

TIMEOUT_SECONDS: Final = 10.0
SLOW_EVERY: Final = 25
"""One request in so many takes a second, so that some are always under way."""
PAUSE_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Target:
    """Where requests go; `name` is for the failures."""

    name: str
    host: str
    port: int


class Load:
    """`workers` threads for each target, a new connection for each request; `enter` is called
    first in each thread, to go into a network namespace."""

    def __init__(
        self, targets: Sequence[Target], *, workers: int, enter: Callable[[], None] = lambda: None
    ) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self.by: Counter[str] = Counter()
        self._enter = enter
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(target,), daemon=True)
            for target in targets
            for _ in range(workers)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let what is under way end."""
        self._over.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS + 5)

    def _run(self, target: Target) -> None:
        self._enter()
        number = 0
        while not self._over.wait(PAUSE_SECONDS):
            number += 1
            path = "/" if number % SLOW_EVERY else "/slow"
            begun = time.time()
            try:
                text = self._ask(target, path)
            except (OSError, http.client.HTTPException) as failure:
                at = time.strftime("%H:%M:%S", time.localtime(begun))
                took = time.time() - begun
                words = f"{at}.{begun % 1 * 1000:03.0f} {target.name}{path}: {failure!r}"
                with self._lock:
                    self.failures.append(f"{words} after {took:.3f} s")
            else:
                with self._lock:
                    self.answered += 1
                    self.by[text.strip()] += 1

    def _ask(self, target: Target, path: str) -> str:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"status {response.status}")
        return text
