"""Names of Linux that a service may use: capabilities, resource limits, signals, sysctls.

After capabilities(7), getrlimit(2), signal(7) and namespaces(7).
"""

from __future__ import annotations

from typing import Final

# In the order of their numbers.
_CAPABILITIES: Final = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES: Final = tuple(f"CAP_{name}" for name in _CAPABILITIES.split())
EVERY_CAPABILITY: Final = "ALL"
LIMITS: Final = frozenset(
    [
        *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice"),
        *("nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
    ]
)
PROPAGATIONS: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
OOM_SCORE_MAX: Final = 1000
SIGNAL_MAX: Final = 64
# In the order of their numbers, from 1; those of x86 and arm.
_SIGNALS: Final = """
HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP
TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
"""
_NUMBERS: Final = {
    **{name: number for number, name in enumerate(_SIGNALS.split(), 1)},
    "IOT": 6,
    "CLD": 17,
    "POLL": 29,
    "RTMIN": 34,
    "RTMAX": SIGNAL_MAX,
}
_SYSCTL_PREFIXES: Final = ("fs.mqueue.", "net.")
_SYSCTLS: Final = frozenset(
    [
        *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall"),
        *("kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.domainname"),
    ]
)


def capability(word: str) -> str:
    """`net_admin`, `CAP_NET_ADMIN` and `all` by their full names; raises ValueError."""
    name = word.upper()
    if name in (EVERY_CAPABILITY, f"CAP_{EVERY_CAPABILITY}"):
        return EVERY_CAPABILITY
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in CAPABILITIES:
        raise ValueError(word)
    return name


def signal_number(word: str) -> int:
    """`SIGTERM`, `term`, `15` and `SIGRTMIN+3` as a number; raises ValueError."""
    text = word.upper()
    if text.isascii() and text.isdecimal():
        number = int(text)
    else:
        name, sign, offset = text.removeprefix("SIG").partition("-" if "-" in text else "+")
        wanted = "RTMAX" if sign == "-" else "RTMIN"
        if name not in _NUMBERS or (sign and (name != wanted or not offset.isdecimal())):
            raise ValueError(word)
        number = _NUMBERS[name] + int(f"{sign}{offset or 0}")
    if not 1 <= number <= SIGNAL_MAX:
        raise ValueError(word)
    return number


def is_namespaced(sysctl: str) -> bool:
    """Whether a container can have a value of its own for this sysctl."""
    return sysctl in _SYSCTLS or sysctl.startswith(_SYSCTL_PREFIXES)
