"""The machine of a health check: probes in, one verdict out.

Docker's rules: a probe each interval, unhealthy after `retries` failures in a row, failures of the
start period do not count, the first success makes it healthy. One thing is better: Docker makes
the first probe after a whole interval (30 s by default), so nothing with a health check runs
sooner. Here the time until that first probe is probed each second, and its failures do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pyswarm.core import NEVER
from pyswarm.model import Healthcheck

INTERVAL_SECONDS: Final = 30.0
TIMEOUT_SECONDS: Final = 30.0
RETRIES: Final = 3
EARLY_INTERVAL_SECONDS: Final = 1.0
OUTPUT_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Probe:
    """Run the check in the container; longer than the timeout is a failure."""

    argv: tuple[str, ...]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Healthy for the first time, or unhealthy for good."""

    healthy: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """The container runs from now on."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe ended."""

    passed: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline passed."""


def is_check(check: Healthcheck | None) -> bool:
    """Whether there is anything to run: `NONE` turns an image's check off."""
    return check is not None and bool(check.test) and check.test[0] != "NONE"


def probe_argv(test: tuple[str, ...]) -> tuple[str, ...]:
    """The command of a check: `CMD` names its words, `CMD-SHELL` is given to /bin/sh."""
    if test[0] == "CMD-SHELL":
        return ("/bin/sh", "-c", " ".join(test[1:]))
    return test[1:] if test[0] == "CMD" else test


@dataclass(slots=True)
class HealthMachine:
    """Times are monotonic seconds."""

    healthcheck: Healthcheck
    healthy: bool = False
    _started_at: float = field(default=0.0, init=False)
    _due: float = field(default=NEVER, init=False)
    _failures: int = field(default=0, init=False)
    _over: bool = field(default=False, init=False)

    @property
    def interval_seconds(self) -> float:
        """Between the end of a probe and the next one."""
        return self.healthcheck.interval_seconds or INTERVAL_SECONDS

    @property
    def forgiving_until(self) -> float:
        """Failures before this do not count, unless it was healthy already."""
        return self._started_at + max(self.healthcheck.start_period_seconds, self.interval_seconds)

    def deadline(self) -> float:
        """When the next probe is due."""
        return self._due

    def handle(self, event: Started | Probed | Tick, now: float) -> list[Probe | Verdict]:
        """Take one event; answers a probe to make or the verdict."""
        match event:
            case Started():
                self._started_at = now
                first = self.interval_seconds if self.healthy else EARLY_INTERVAL_SECONDS
                self._due = now + min(first, self.interval_seconds)
            case Tick() if now >= self._due and not self._over:
                self._due = NEVER
                timeout = self.healthcheck.timeout_seconds or TIMEOUT_SECONDS
                return [Probe(probe_argv(self.healthcheck.test), timeout)]
            case Probed(passed, output) if not self._over:
                return self._probed(passed, output, now)
        return []

    def _probed(self, passed: bool, output: str, now: float) -> list[Probe | Verdict]:
        early = not self.healthy and now < self.forgiving_until
        if passed:
            self._failures = 0
            self._due = now + self.interval_seconds
            first, self.healthy = not self.healthy, True
            return [Verdict(True)] if first else []
        if early:
            next_probe = now + min(EARLY_INTERVAL_SECONDS, self.interval_seconds)
            self._due = min(next_probe, self.forgiving_until)
            return []
        self._failures += 1
        if self._failures < (self.healthcheck.retries or RETRIES):
            self._due = now + self.interval_seconds
            return []
        self._over, self._due = True, NEVER
        return [Verdict(False, output.strip()[-200:])]

    def check(self) -> None:
        """Assert the invariants."""
        limit = self.healthcheck.retries or RETRIES
        assert 0 <= self._failures <= limit, f"{self._failures} failures of {limit}"
        assert self._over == (self._failures == limit), "a verdict without its failures"
