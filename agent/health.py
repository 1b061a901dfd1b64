"""The machine of a health check: probes in, what the container is like out.

Docker's rules: a probe each interval, unhealthy after `retries` failures in a row, failures of the
start period do not count, the first success makes it healthy. One thing is better: Docker makes
the first probe after a whole interval (30 s by default), so nothing with a health check runs
sooner. Here the time until that first probe is probed each second, and its failures do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from pyswarm.core import NEVER
from pyswarm.model import Healthcheck, HealthResult, HealthState, TaskHealth

INTERVAL_SECONDS: Final = 30.0
TIMEOUT_SECONDS: Final = 30.0
RETRIES: Final = 3
EARLY_INTERVAL_SECONDS: Final = 1.0
EARLY_NEWS_SECONDS: Final = 5.0
"""Between two reports on a container that starts: each is a write of the managers."""
RESULTS_MAX: Final = 5
OUTPUT_CHARACTERS_MAX: Final = 512
"""Of each result; every manager holds the results of every task."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Run the check in the container; longer than the timeout is a failure."""

    argv: tuple[str, ...]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Started:
    """The container runs from now on."""


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe ended; exit code 0 is a success."""

    result: HealthResult


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline passed."""


def is_check(check: Healthcheck | None) -> bool:
    """Whether there is anything to run: `NONE` turns an image's check off."""
    return check is not None and bool(check.test) and check.test[0] != "NONE"


def merged(own: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    """The service's check, and field by field the image's where the service says nothing."""
    if own is None or image is None:
        return own or image
    return Healthcheck(
        test=own.test or image.test,
        interval_seconds=own.interval_seconds or image.interval_seconds,
        timeout_seconds=own.timeout_seconds or image.timeout_seconds,
        start_period_seconds=own.start_period_seconds or image.start_period_seconds,
        retries=own.retries or image.retries,
        start_interval_seconds=own.start_interval_seconds or image.start_interval_seconds,
    )


def probe_argv(test: tuple[str, ...]) -> tuple[str, ...]:
    """The command of a check: `CMD` names its words, `CMD-SHELL` is given to /bin/sh."""
    if test[0] == "CMD-SHELL":
        return ("/bin/sh", "-c", " ".join(test[1:]))
    return test[1:] if test[0] == "CMD" else test


def unhealthy_error(exit_code: int, health: TaskHealth) -> str:
    """The error of a task whose container was stopped since it was unhealthy."""
    output = " ".join(health.log[-1].output.split())[-200:] if health.log else ""
    error = f"task: non-zero exit ({exit_code}): unhealthy container"
    return f"{error}: {output}" if output else error


@dataclass(slots=True)
class HealthMachine:
    """Times are monotonic seconds, but those of the results. `health` is where it stands, of an
    adopted container what was last said of it. Each new one that is answered is worth telling."""

    healthcheck: Healthcheck
    health: TaskHealth = TaskHealth(state=HealthState.STARTING)
    _started_at: float = field(default=0.0, init=False)
    _due: float = field(default=NEVER, init=False)
    _told_at: float = field(default=-NEVER, init=False)

    @property
    def healthy(self) -> bool:
        """Whether it has passed, and not failed too often since."""
        return self.health.state == HealthState.HEALTHY

    @property
    def interval_seconds(self) -> float:
        """Between the end of a probe and the next one."""
        return self.healthcheck.interval_seconds or INTERVAL_SECONDS

    @property
    def early_interval_seconds(self) -> float:
        """The same while it starts."""
        wanted = self.healthcheck.start_interval_seconds or EARLY_INTERVAL_SECONDS
        return min(wanted, self.interval_seconds)

    @property
    def retries(self) -> int:
        """Failures in a row that make it unhealthy."""
        return self.healthcheck.retries or RETRIES

    @property
    def forgiving_until(self) -> float:
        """Failures before this do not count, unless it was healthy already."""
        return self._started_at + max(self.healthcheck.start_period_seconds, self.interval_seconds)

    def deadline(self) -> float:
        """When the next probe is due."""
        return self._due

    def handle(self, event: Started | Probed | Tick, now: float) -> list[Probe | TaskHealth]:
        """Take one event; answers a probe to make, or what is new of its health."""
        if self.health.state == HealthState.UNHEALTHY:
            # Of an adopted one: the daemon was restarted between the verdict and the stop.
            return [self.health] if isinstance(event, Started) else []
        match event:
            case Started():
                self._started_at = now
                first = self.interval_seconds if self.healthy else self.early_interval_seconds
                self._due = now + first
            case Tick() if now >= self._due:
                self._due = NEVER
                timeout = self.healthcheck.timeout_seconds or TIMEOUT_SECONDS
                return [Probe(probe_argv(self.healthcheck.test), timeout)]
            case Probed(result):
                return self._probed(result, now)
        return []

    def _probed(self, result: HealthResult, now: float) -> list[Probe | TaskHealth]:
        before = self.health
        kept = replace(result, output=result.output[:OUTPUT_CHARACTERS_MAX])
        log = (*before.log, kept)[-RESULTS_MAX:]
        self._due = now + self.interval_seconds
        if result.exit_code == 0:
            self.health = TaskHealth(state=HealthState.HEALTHY, log=log)
            return [self.health] if not self._is_same(before) else []
        if not self.healthy and now < self.forgiving_until:
            self._due = min(now + self.early_interval_seconds, self.forgiving_until)
            self.health = replace(before, log=log)
            if now < self._told_at + EARLY_NEWS_SECONDS:
                return []
            self._told_at = now
            return [self.health]
        failures = before.failing_streak + 1
        state = before.state
        if failures >= self.retries:
            state, self._due = HealthState.UNHEALTHY, NEVER
        self.health = TaskHealth(state=state, failing_streak=failures, log=log)
        return [self.health]

    def _is_same(self, before: TaskHealth) -> bool:
        return (before.state, before.failing_streak) == (self.health.state, 0)

    def check(self) -> None:
        """Assert the invariants."""
        health = self.health
        assert len(health.log) <= RESULTS_MAX, f"{len(health.log)} results are kept"
        over = health.state == HealthState.UNHEALTHY
        assert not over or self._due == NEVER, "an unhealthy container is probed again"
