"""The volumes of a node as they lie on its disk: what they take, and what nobody has any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from pyswarm.errors import Unavailable


def size_bytes(folder: Path) -> int:
    """What a folder takes on the disk; a file that goes meanwhile does not count."""
    found, waiting, seen = 0, [folder], set()
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            found += status.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
    return found


class VolumeFolders:
    """`volumes/NAME/_data` and `anonymous/TASK/N/_data` below the state directory."""

    def __init__(self, state_directory: Path) -> None:
        self._named = state_directory / "volumes"
        self._anonymous = state_directory / "anonymous"

    def named(self) -> dict[str, int]:
        """Volumes with a name, and their bytes."""
        return {path.name: size_bytes(path) for path in _folders(self._named)}

    def anonymous(self) -> dict[str, int]:
        """The bytes of the volumes without a name, by the task that had them made."""
        return {path.name: size_bytes(path) for path in _folders(self._anonymous)}

    def remove_anonymous(self, keep: Collection[str], until: float) -> dict[str, int]:
        """Remove those of tasks that are not to `keep` (`until` other than 0: made before), and
        answer what they had; raises Unavailable."""
        removed = {}
        for path in _folders(self._anonymous):
            try:
                if path.name in keep or (until and path.stat().st_mtime >= until):
                    continue
                removed[path.name] = size_bytes(path)
                shutil.rmtree(path)
            except OSError as error:
                raise Unavailable(f"cannot remove the volume at {path}: {error}") from error
        return removed


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []
