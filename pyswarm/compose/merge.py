"""Several compose files as one (compose specification, chapter "Merge and override").

Mappings merge by key, lists are appended without doubles, lists whose items have a key of their
own (ports, volumes, secrets...) merge by it, commands are replaced. `!override` replaces what
earlier files say, `!reset` removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pyswarm.compose.marked import Marked

Key = Callable[[Marked], object]


def merge(files: Sequence[Marked]) -> Marked:
    """The files, in their long form, as one; later ones win."""
    assert files, "there is nothing to merge"
    merged = files[0].put({})
    for file in files:
        merged = _merge(merged, file, ())
    return merged


def _merge(old: Marked | None, new: Marked, keys: tuple[str, ...]) -> Marked:
    if isinstance(new.value, dict):
        fresh = old is None or new.tag == "!override" or _replaced(keys)
        entries = {} if fresh or old is None else dict(old.entries)
        for key, entry in new.value.items():
            if entry.tag == "!reset":
                entries.pop(key, None)
            else:
                entries[key] = _merge(entries.get(key), entry, (*keys, key))
        return new.put(dict(entries))
    if isinstance(new.value, list):
        kept = [item for item in new.value if item.tag != "!reset"]
        if old is None or new.tag == "!override" or _replaced(keys):
            return new.put(_unique([], kept, keys))
        return new.put(_unique(old.items, kept, keys))
    if new.absent and old is not None:
        # A key without a value (a network `front:`) says nothing new about what is there.
        return old
    return new


def _replaced(keys: tuple[str, ...]) -> bool:
    match keys:
        case ("services", _, "command" | "entrypoint") | ("services", _, "healthcheck", "test"):
            return True
        # A secret from a file in one and from outside in the other file is not from both.
        case ("secrets" | "configs", _):
            return True
    return False


def _unique(old: Iterable[Marked], new: Iterable[Marked], keys: tuple[str, ...]) -> list[Marked]:
    """The old items that no new one replaces, then the new ones without exact doubles.

    New ones with the same key stay beside each other: in one file that is a mistake, which the
    conversion names, and not a replacement.
    """
    key = _key(keys)
    if not key:
        return [*old, *new]
    fresh = {str(_plain(item)): item for item in new}
    replaced = {key(item) for item in fresh.values()}
    return [*(item for item in old if key(item) not in replaced), *fresh.values()]


def _key(keys: tuple[str, ...]) -> Key | None:
    match keys:
        case ("services", _, "ports"):
            return _port_key
        case ("services", _, "volumes"):
            return lambda item: item.at("target").text
        case ("services", _, "secrets" | "configs"):
            return lambda item: item.at("target").text or item.at("source").text
        case ("services", _, "env_file"):
            return lambda item: item.at("path").text
        case ("services", _, "command" | "entrypoint") | ("services", _, "healthcheck", "test"):
            return None
        case ("services", _, "tmpfs"):
            return lambda item: item.text.partition(":")[0]
    return lambda item: str(_plain(item))


def _port_key(port: Marked) -> object:
    """The published port, which the swarm has only once; without one, the container's port."""
    published = port.at("published").whole()
    protocol = port.at("protocol").text
    return (published, protocol) if published else (0, protocol, port.at("target").whole())


def _plain(item: Marked) -> object:
    if isinstance(item.value, dict):
        return {key: _plain(entry) for key, entry in sorted(item.value.items())}
    if isinstance(item.value, list):
        return [_plain(entry) for entry in item.value]
    return item.value
