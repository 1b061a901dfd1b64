"""nftables through its own library, in the calling thread's namespace; and the host's firewall.

libnftables is what the nft command is made of (Debian: nftables brings it). Called in place it
needs no process: 1 ms where the command takes 17. Each text is one transaction. The library has
global state, so only the worker thread may call it. It waits with select(2), which ends the process
where its socket's number is 1024 or more: on a host with hundreds of tasks the command is run.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from overlay.names import HOST_DEVICE_PREFIX
from overlay.vip import TABLE
from pyswarm.errors import FailedPrecondition, Unavailable

_JSON: Final = 1 << 4

_LAST_FILE: Final = 1024 - 128
"""Of the numbers that select(2) takes, some are left for what other threads open meanwhile."""


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        raise FailedPrecondition(
            "libnftables.so.1 is missing on this node: install the package nftables"
        ) from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_free", "nft_ctx_buffer_error", "nft_ctx_buffer_output"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _run(text: str, flags: int = 0) -> tuple[bool, str]:
    """Whether it worked, and the output or the error."""
    number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(number)
    return _in_place(text, flags) if number < _LAST_FILE else _by_command(text, flags)


def _by_command(text: str, flags: int) -> tuple[bool, str]:
    # With --json it takes a file for JSON, too, and then lists nothing.
    command = ["nft", "--json", text] if flags & _JSON else ["nft", "--file", "-"]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode == 0, done.stderr if done.returncode else done.stdout


def _in_place(text: str, flags: int) -> tuple[bool, str]:
    library = _library()
    context = library.nft_ctx_new(0)
    if not context:
        raise Unavailable("nftables cannot be used on this node: no netlink socket")
    try:
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_output_set_flags(context, flags)
        works = library.nft_run_cmd_from_buffer(context, text.encode()) == 0
        read = library.nft_ctx_get_output_buffer if works else library.nft_ctx_get_error_buffer
        return works, (read(context) or b"").decode(errors="replace")
    finally:
        library.nft_ctx_free(context)


def run(commands: str | Iterable[str]) -> None:
    """Perform commands as one transaction; raises Unavailable with nft's first line."""
    text = commands if isinstance(commands, str) else "".join(f"{line}\n" for line in commands)
    if not text:
        return
    works, answer = _run(text)
    if not works:
        raise Unavailable(f"nftables refused a change: {answer.strip()[:300]}")


def replace_table(text: str) -> None:
    """Make or rewrite our table; one of another shape (from another version) is removed first."""
    works, answer = _run(text)
    if not works:
        remove_table()
        works, answer = _run(text)
    if not works:
        raise Unavailable(f"nftables refused our table: {answer.strip()[:300]}")


def remove_table() -> None:
    """Remove our table from this namespace, if it is there."""
    run([f"add table ip {TABLE}", f"delete table ip {TABLE}"])


def backends() -> dict[str, tuple[str, ...]]:
    """Virtual address to backends, as a router's table has them; empty where there is none."""
    works, answer = _run(f"list map ip {TABLE} backends\n", _JSON)
    found: dict[str, list[str]] = {}
    if works:
        for item in json.loads(answer)["nftables"]:
            for key, address in item.get("map", {}).get("elem", []):
                found.setdefault(str(key["concat"][0]), []).append(str(address))
    return {vip: tuple(members) for vip, members in found.items()}


# ---- the host's own firewall ----

_RULES: Final = (
    ("-i", f"{HOST_DEVICE_PREFIX}+", "-j", "ACCEPT"),
    ("-o", f"{HOST_DEVICE_PREFIX}+", "-j", "ACCEPT"),
)


def _chains() -> list[dict[str, Any]]:
    works, answer = _run("list chains\n", _JSON)
    if not works:
        return []
    return [item["chain"] for item in json.loads(answer)["nftables"] if "chain" in item]


def _iptables(*arguments: str) -> bool:
    command = ["iptables", "-w", "10", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def open_forwarding() -> list[str]:
    """Make the host's firewall let our links through; a sentence for each chain that does not.

    An accept in our table cannot overrule a drop in another one. Docker and ufw drop what is
    forwarded in `ip filter FORWARD`, where a rule of ours goes first; our own table has then
    decided already what may pass.
    """
    problems = []
    for chain in _chains():
        if chain.get("hook") != "forward" or chain.get("policy") != "drop":
            continue
        if chain["family"] not in ("ip", "inet"):
            continue
        place = (chain["family"], chain["table"], chain["name"])
        if place == ("ip", "filter", "FORWARD") and shutil.which("iptables"):
            for rule in _RULES:
                if not _iptables("-C", "FORWARD", *rule):
                    _iptables("-I", "FORWARD", *rule)
            continue
        problems.append(
            f"the firewall chain {' '.join(place)} drops forwarded packets: let it accept the"
            f" devices {HOST_DEVICE_PREFIX}*, or containers cannot reach the outside"
        )
    return problems


def close_forwarding() -> None:
    """Take our rules out of the host's firewall."""
    places = {(c["family"], c["table"], c["name"]) for c in _chains()}
    if ("ip", "filter", "FORWARD") in places and shutil.which("iptables"):
        for rule in _RULES:
            while _iptables("-C", "FORWARD", *rule) and _iptables("-D", "FORWARD", *rule):
                pass
