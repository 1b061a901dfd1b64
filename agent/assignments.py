"""What the managers assigned to this node, brought up to date message by message.

A COMPLETE message replaces everything; an INCREMENTAL one counts only behind the message that it
names. A gap means that something was lost: the agent asks for a new session, which begins with a
COMPLETE message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyswarm.model import Config, RegistryCredential, Secret, Task, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentNews:
    """One message of the managers."""

    complete: bool
    applies_to: int = 0
    results_in: int = 0
    tasks: tuple[Task, ...] = ()
    secrets: tuple[Secret, ...] = ()
    configs: tuple[Config, ...] = ()
    volumes: tuple[Volume, ...] = ()
    removed_tasks: tuple[str, ...] = ()
    removed_secrets: tuple[str, ...] = ()
    removed_configs: tuple[str, ...] = ()
    removed_volumes: tuple[str, ...] = ()
    credentials: tuple[RegistryCredential, ...] = ()
    removed_credentials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentChange:
    """What the news changed: tasks that are new or different, and the ids of those that are gone,
    both sorted; `payloads` says whether secrets or configs came."""

    tasks: tuple[Task, ...] = ()
    removed: tuple[str, ...] = ()
    payloads: bool = False


@dataclass(slots=True)
class Assignments:
    """Everything that is assigned, by id. Secrets live here and nowhere else outside a tmpfs, and
    logins for registries here alone. `sequence` is 0 until a manager has said something."""

    tasks: dict[str, Task] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    configs: dict[str, Config] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    credentials: dict[str, RegistryCredential] = field(default_factory=dict)
    sequence: int = 0

    def apply(self, news: AssignmentNews) -> AssignmentChange | None:
        """Take one message; None where a message before it is missing."""
        if not news.complete and news.applies_to != self.sequence:
            return None
        self.sequence = news.results_in
        tasks = {task.id: task for task in news.tasks}
        removed = sorted(
            self.tasks.keys() - tasks.keys()
            if news.complete
            else self.tasks.keys() & set(news.removed_tasks) - tasks.keys()
        )
        changed = tuple(tasks[key] for key in sorted(tasks) if self.tasks.get(key) != tasks[key])
        for task_id in removed:
            del self.tasks[task_id]
        self.tasks |= tasks
        self._payloads(news)
        return AssignmentChange(
            tasks=changed,
            removed=tuple(removed),
            payloads=bool(news.secrets or news.configs),
        )

    def _payloads(self, news: AssignmentNews) -> None:
        if news.complete:
            self.secrets, self.configs, self.credentials = {}, {}, {}
            self.volumes = {}
        for volume_id in news.removed_volumes:
            self.volumes.pop(volume_id, None)
        self.volumes |= {volume.id: volume for volume in news.volumes}
        for secret_id in news.removed_secrets:
            self.secrets.pop(secret_id, None)
        for config_id in news.removed_configs:
            self.configs.pop(config_id, None)
        for credential_id in news.removed_credentials:
            self.credentials.pop(credential_id, None)
        self.credentials |= {each.id: each for each in news.credentials}
        self.secrets |= {secret.id: secret for secret in news.secrets}
        self.configs |= {config.id: config for config in news.configs}

    def check(self) -> None:
        """Assert the invariants."""
        payloads = (self.secrets, self.configs, self.credentials)
        for table in (self.tasks, *payloads, self.volumes):
            for key, record in table.items():
                assert key == record.id, f"{record.id} is filed under {key}"
