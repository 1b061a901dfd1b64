"""The figures: their names, targets and what Docker Swarm shows on the same kind of machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `target` is the least (`more`) or the most that is wanted, or None.

    `docker` is what Docker Swarm was seen to do, in words.
    """

    name: str
    more: bool = False
    target: float | None = None
    docker: str = ""

    def verdict(self, value: float | None) -> str:
        """Whether a value reaches the target; empty where there is none."""
        if value is None:
            return "not measured"
        if self.target is None:
            return ""
        reached = value >= self.target if self.more else value <= self.target
        return "reached" if reached else "MISSED"


FIGURES = (
    Figure(name="writes_per_s_1", more=True),
    Figure(name="write_ms_p50_1", target=2.5),
    Figure(name="writes_per_s_16", more=True),
    Figure(name="writes_per_s_64", more=True, target=8000),
    Figure(name="state_100k_tasks_mb", target=150),
    Figure(name="first_snapshot_100k_tasks_ms"),
    Figure(name="snapshot_rows_100k_tasks_mb"),
    Figure(name="snapshot_100k_tasks_ms", target=500),
    Figure(name="loop_stall_ms_p999", target=20),
    Figure(name="restore_100k_tasks_ms", target=1000),
    Figure(name="scheduled_tasks_per_s", more=True, target=50_000, docker="7,500-11,700"),
    Figure(name="replicas_1000_ms", target=4000, docker="8,000-11,000"),
    Figure(name="start_100_ratio", target=0.5, docker="1"),
    Figure(name="manager_rss_mb", target=120),
    Figure(name="agent_rss_mb"),
    Figure(name="create_to_running_ms_p50"),
    Figure(name="api_writes_per_s_64", more=True, target=1500, docker="340-470"),
    Figure(name="api_floor_per_s_64", more=True),
    Figure(name="leader_loss_ms_p50", target=3000, docker="10,000-15,000"),
    Figure(name="leader_loss_ms_p99", target=1500),
    Figure(name="planned_leader_change_ms_p50", target=1000),
    Figure(name="node_loss_noticed_ms_p50", target=4000, docker="12,000-15,000"),
    Figure(name="node_loss_recovered_ms_p50", target=7000, docker="18,000"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure's value, or why there is none; `samples` are the single runs."""

    value: float | None
    why: str = ""
    samples: tuple[float, ...] = ()


def _short(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def table(results: dict[str, Measured]) -> str:
    """The lines that a person reads."""
    rows = [("figure", "value", "target", "Docker", "")]
    for figure in FIGURES:
        if figure.name not in results:
            continue
        found = results[figure.name]
        sign = ">=" if figure.more else "<="
        target = "" if figure.target is None else f"{sign} {_short(figure.target)}"
        value = "-" if found.value is None else _short(found.value)
        words = figure.verdict(found.value)
        rows.append((figure.name, value, target, figure.docker, f"{words} {found.why}".strip()))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for name, *cells, words in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned, words]).rstrip())
    return "\n".join(lines)
