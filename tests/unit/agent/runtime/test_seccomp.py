"""What capabilities add to the allow-list."""

from agent.runtime.capabilities import DEFAULT
from agent.runtime.seccomp import profile


def allowed(capabilities, architecture="amd64"):
    rules = profile(capabilities, architecture)["syscalls"]
    return {
        name
        for rule in rules
        for name in rule["names"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
    }


def test_what_makes_namespaces_and_mounts_is_not_allowed_by_default():
    dangerous = {
        "unshare",
        "setns",
        "mount",
        "umount2",
        "pivot_root",
        "keyctl",
        "bpf",
        "clone",
        "kexec_load",
    }
    assert not dangerous & allowed(DEFAULT)


def test_a_capability_brings_its_calls():
    assert {"mount", "unshare", "clone", "clone3"} <= allowed((*DEFAULT, "CAP_SYS_ADMIN"))
    assert "reboot" in allowed(("CAP_SYS_BOOT",))
    assert "chroot" in allowed(DEFAULT)
    assert "chroot" not in allowed(())


def test_an_architecture_brings_its_calls():
    assert "arch_prctl" in allowed((), "amd64")
    assert "arch_prctl" not in allowed((), "arm64")
    assert profile((), "riscv64")["architectures"] == []
