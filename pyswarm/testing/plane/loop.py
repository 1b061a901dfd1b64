"""An event loop for each process of a simulated cluster, all on one line of virtual time.

Time stands still while anything can run, and then jumps to the next timer. A process can be
paused (nothing of it runs, and its timers gather) or killed (nothing of it ever runs again, not
even a `finally`: a process that is killed runs none either).
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any

from pyswarm.daemon.interpreter import COLLECT_AFTER

EPOCH = 1_700_000_000.0
RESOLUTION = 1e-7


class Violation(AssertionError):
    """A promise of the control plane was broken."""


@contextmanager
def tuned() -> Iterator[None]:
    """Collect garbage as seldom as the daemons do."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class State(Enum):
    """What a process does."""

    RUNS = "runs"
    PAUSED = "paused"
    DEAD = "dead"


class Handle:
    """A callback that waits; what asyncio knows as `Handle` and `TimerHandle`."""

    __slots__ = ("args", "callback", "context", "loop")

    def __init__(
        self,
        loop: ProcessLoop | None,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> None:
        self.loop = loop
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context = context

    def cancel(self) -> None:
        """It shall not run."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Whether it shall not run."""
        return self.callback is None


class Timeline:
    """Virtual time in seconds, and everything that will happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self.failure: BaseException | None = None
        self.events = 0
        self._heap: list[tuple[float, int, Handle]] = []
        self._ready: deque[Handle] = deque()
        self.soon = self._ready.append
        """Run a handle at this very moment, behind what is due already."""
        self._order = 0

    def at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        loop: ProcessLoop | None = None,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """Call back at `when`, inside a process or outside of all."""
        handle = Handle(loop, callback, args, context)
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, handle))
        return handle

    def after(self, delay: float, callback: Callable[..., Any], *args: Any) -> Handle:
        """Call back later, outside of all processes."""
        return self.at(self.now + delay, callback, *args)

    def fail(self, failure: BaseException) -> None:
        """End the run as soon as control comes back; the first failure counts."""
        if self.failure is None:
            self.failure = failure

    def run(self, until: float) -> None:
        """Let everything happen that is due up to `until`; raises the failure, if there is one."""
        ready, heap, pop = self._ready, self._heap, heapq.heappop
        running: ProcessLoop | None = None
        try:
            while True:
                while ready:
                    handle = ready.popleft()
                    callback = handle.callback
                    if callback is None:
                        continue
                    loop = handle.loop
                    if loop is not running:
                        if loop is not None and loop.state is not State.RUNS:
                            loop.hold(handle)
                            continue
                        _set_running_loop(loop)
                        running = loop
                    elif loop is not None and loop.state is not State.RUNS:
                        loop.hold(handle)
                        continue
                    self.events += 1
                    if handle.context is None:
                        callback(*handle.args)
                    else:
                        handle.context.run(callback, *handle.args)
                    if self.failure is not None:
                        raise self.failure
                if not heap or heap[0][0] > until:
                    break
                when, _, handle = pop(heap)
                if handle.callback is not None:
                    if when > self.now:
                        self.now = when
                    ready.append(handle)
        finally:
            _set_running_loop(None)
        self.now = max(self.now, until)


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one process from its start to its end.

    `rate`: how many of its seconds one true second has. `begin`: its monotonic clock at the start.
    """

    def __init__(self, timeline: Timeline, *, rate: float = 1.0, begin: float = 0.0) -> None:
        self._timeline = timeline
        self._soon = timeline.soon
        self._rate = rate
        self._since = timeline.now
        self._begin = begin
        self._held: list[Handle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.state = State.RUNS
        self.wall_offset = 0.0
        """What its wall clock is ahead of the true time."""
        self.executor: Callable[..., asyncio.Future[Any]] | None = None
        self.host: Any = None

    # ---- what asyncio calls ----

    def time(self) -> float:
        """The monotonic clock of this process."""
        return self._begin + (self._timeline.now - self._since) * self._rate

    def wall(self) -> float:
        """The wall clock of this process, in seconds since the epoch."""
        return EPOCH + self.wall_offset + self.time()

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """As long as it lives."""
        return self.state is not State.DEAD

    def is_closed(self) -> bool:
        """Whether it was killed."""
        return self.state is State.DEAD

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """Run at this moment of virtual time."""
        handle = Handle(self, callback, args, context)
        if self.state is not State.DEAD:
            self._soon(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """Run after `delay` seconds of this process's clock."""
        # Never a moment too early: who compares the clock with its deadline would arm a timer of
        # no length again, for ever.
        when = self._timeline.now + (delay / self._rate + RESOLUTION if delay > 0 else 0.0)
        return self._timeline.at(when, callback, *args, loop=self, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """Run at a time of this process's clock."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this process."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        """A task of this process."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Have the process's machine do it: the work takes its time, in the order of its thread."""
        assert self.executor is not None, "this process has no threads"
        return self.executor(self, executor, func, args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Errors that nobody takes end the run; what a killed process leaves behind does not."""
        error = context.get("exception")
        if error is not None and self.state is not State.DEAD:
            self._timeline.fail(error)

    # ---- what the simulation calls ----

    def hold(self, handle: Handle) -> None:
        """Keep what is due while the process is paused; forget it where it is dead."""
        if self.state is State.PAUSED:
            self._held.append(handle)

    def pause(self) -> None:
        """SIGSTOP."""
        if self.state is State.RUNS:
            self.state = State.PAUSED

    def resume(self) -> None:
        """SIGCONT: all that gathered is due now."""
        if self.state is State.PAUSED:
            self.state = State.RUNS
            held, self._held = self._held, []
            for handle in held:
                self._timeline.soon(handle)

    def kill(self) -> None:
        """SIGKILL: its tasks stay as they are, for a task that is collected runs its `finally`."""
        self._tasks = list(asyncio.all_tasks(self))
        self.state = State.DEAD
        self._held.clear()

    def bury(self) -> None:
        """Close what a killed process left behind, before a collector does it, elsewhere."""
        _set_running_loop(self)
        try:
            for task in self._tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(BaseException):
                    task.get_coro().close()
        finally:
            _set_running_loop(None)
        self._tasks.clear()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` as a part of this process."""
        return self.create_task(work, name=name)
