"""From the text of the files to one tree: parse, interpolate, check, lengthen, merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyswarm.compose.canonical import canonical
from pyswarm.compose.interpolate import interpolate
from pyswarm.compose.marked import ComposeError, Marked
from pyswarm.compose.merge import merge
from pyswarm.compose.parse import parse
from pyswarm.compose.schema import check

PROFILES_VARIABLE: Final = "COMPOSE_PROFILES"


@dataclass(frozen=True, slots=True)
class Document:
    """The merged tree and what the user should know of it."""

    tree: Marked
    warnings: tuple[str, ...] = ()


def read(texts: Sequence[tuple[str, str]], environ: Mapping[str, str]) -> Document:
    """One document from (file's name, text) pairs, later files winning; raises ComposeError."""
    trees: list[Marked] = []
    warnings: list[str] = []
    problems: list[str] = []
    for file, text in texts:
        try:
            tree, unset = interpolate(parse(text, file), environ)
            tree, ignored = check(tree)
            tree, changed = canonical(tree)
        except ComposeError as error:
            problems.extend(error.problems)
            continue
        trees.append(tree)
        warnings += [*unset, *ignored, *changed]
    if problems:
        raise ComposeError(*problems)
    merged = _only_active(merge(trees), environ, warnings)
    return Document(merged, tuple(warnings))


def _only_active(tree: Marked, environ: Mapping[str, str], warnings: list[str]) -> Marked:
    """Without the services whose profiles are not asked for."""
    active = {name.strip() for name in environ.get(PROFILES_VARIABLE, "").split(",")}
    kept = {}
    for key, service in tree.at("services").entries.items():
        profiles = service.at("profiles")
        if not profiles.items or active.intersection((*profiles.texts, "*")):
            kept[key] = service
            continue
        names = ", ".join(profiles.texts)
        warnings.append(
            service.problem(f"left out: set {PROFILES_VARIABLE} to one of its profiles ({names})")
        )
    if "services" not in tree.entries:
        return tree
    return tree.put({**tree.entries, "services": tree.at("services").put(dict(kept))})
