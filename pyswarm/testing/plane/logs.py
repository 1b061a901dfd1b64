"""Production's log in a simulation: only what it did not expect counts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pyswarm.testing.plane.loop import Timeline, Violation


class _Errors(logging.Handler):
    """What production logs as an unexpected error is a violation."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(logging.ERROR)
        self._timeline = timeline

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one record."""
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            self._timeline.fail(
                Violation(f"{record.getMessage()}: {error!r}").with_traceback(error.__traceback__)
            )


@contextmanager
def silence(timeline: Timeline) -> Iterator[None]:
    """Only errors are looked at."""
    handler, root, before = _Errors(timeline), logging.getLogger(), logging.root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        logging.disable(before)
