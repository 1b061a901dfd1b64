"""How far a job has come: the machine of `progress`, where the end is completion. Pure.

The managers say how an iteration stands (`job_status`), so that a wait ends when they know of no
more to do, and not when this side sees nothing. A job that fails and is tried again without end
has no end that could be waited for: then the wait says so.
"""

from __future__ import annotations

from pyswarm.cli.progress import ENDS_MAX, Convergence, Phase, Progress, failing
from pyswarm.model import JobState, Service, ServiceMode


class JobWait(Convergence):
    """A machine that watches one iteration of a job, and the ones that overtake it."""

    def __init__(
        self, service: Service, settled: bool = False, started: float | None = None
    ) -> None:
        """See `Convergence`."""
        super().__init__(service, settled, started)
        self._finished = 0
        self._vain_runs = 0

    def handle(self, service: Service, progress: Progress, now: float) -> None:
        """Take what is known now; after CONVERGED or FAILED nothing changes any more."""
        if self.phase >= Phase.CONVERGED or service.spec_version < self.service.spec_version:
            return
        self._take(service, progress, now)
        status = service.job_status
        if status.state == JobState.COMPLETED:
            self.phase = Phase.CONVERGED
        elif status.state == JobState.FAILED:
            self.phase, self.problem = Phase.FAILED, f"job failed: {status.message}"
        else:
            problem = failing(progress.slots)
            if problem:
                self.phase, self.problem = Phase.FAILED, f"job is failing: {problem}"
        self.tick(now)

    def _take(self, service: Service, progress: Progress, now: float) -> None:
        ran = self.progress.running > 0
        super()._take(service, progress, now)
        if ran and not progress.running:
            # The time in which something ran does not count, unless it only ever fails.
            self._vain_runs = 0 if progress.finished != self._finished else self._vain_runs + 1
            self._finished = progress.finished
            if self._vain_runs < ENDS_MAX:
                self._patience.begin(now)

    def _takes_its_time(self) -> bool:
        # How long a job runs is its own affair; how long it takes to begin is not.
        return self.progress.running > 0

    @property
    def count(self) -> str:
        """For a line of its own."""
        return f"{self.progress.finished}/{self.progress.wanted} completed"

    @property
    def done_word(self) -> str:
        """How the line of a job ends that is over."""
        return "complete"

    def head(self) -> list[str]:
        """The sums."""
        progress, spec = self.progress, self.service.spec
        most = progress.wanted - progress.finished
        if spec.mode == ServiceMode.REPLICATED_JOB:
            most = spec.max_concurrent or spec.replicas
        return [
            f"job progress: {progress.finished} out of {progress.wanted} complete",
            f"active tasks: {progress.running} out of {most} tasks",
        ]

    @property
    def verdict(self) -> str:
        """The last line: how it ended."""
        if self.phase != Phase.CONVERGED:
            return super().verdict
        empty = self.service.spec.mode.is_global and not self.progress.wanted
        return "job complete: no node fits it" if empty else "job complete"


def wait_for(service: Service, settled: bool = False, started: float | None = None) -> Convergence:
    """The machine that waits for a service of this mode; see `Convergence`."""
    kind = JobWait if service.spec.mode.is_job else Convergence
    return kind(service, settled, started)
