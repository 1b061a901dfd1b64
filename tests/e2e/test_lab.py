"""The lab itself: hosts that come, go, are cut off, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pyswarm.lab import cgroups, host, layout, machine, process
from pyswarm.lab.machine import Lab
from pyswarm.testing.lab import LabDriver, LabSettings

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=2, workers=1, daemon=False)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyswarm.lab", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def answers(lab: LabDriver, source: str, target: str, port: int = 8000) -> bool:
    url = f"http://{target}:{port}/"
    return lab.exec(source, "curl", "-sf", "--max-time", "2", url).returncode == 0


@pytest.fixture
def page(lab: LabDriver) -> str:
    """A web server on m2, started again where a test took it away."""
    if not answers(lab, "m2", "m2"):
        web = "mkdir -p /run/www; hostname >/run/www/index.html; busybox httpd -p 8000 -h /run/www"
        lab.output("m2", "sh", "-c", web)
    lab.wait_until(lambda: answers(lab, "m2", "m2"), what="the page of m2 is served")
    return "m2\n"


def test_a_host_has_its_own_name_address_and_process_tree(lab: LabDriver) -> None:
    assert lab.output("w1", "hostname") == "w1\n"
    assert "10.66.2.1/16" in lab.output("w1", "ip", "-br", "address", "show", "eth0")
    assert lab.output("w1", "readlink", "/proc/self/ns/pid") != os.readlink("/proc/self/ns/pid")
    assert "hostinit" in lab.output("w1", "cat", "/proc/1/cmdline")


def test_a_host_sees_only_its_own_cgroups(lab: LabDriver) -> None:
    lines = lab.output("m1", "cat", "/proc/self/cgroup").splitlines()
    assert all(line.endswith((":/", f":/{cgroups.LEAF}")) for line in lines)


def test_run_of_a_host_is_private_and_not_on_disk(lab: LabDriver) -> None:
    lab.output("m1", "touch", "/run/only-on-m1")
    assert not Path("/run/only-on-m1").exists()
    assert lab.exec("m2", "test", "-e", "/run/only-on-m1").returncode == 1
    assert lab.output("m1", "stat", "-f", "-c", "%T", "/run") == "tmpfs\n"


def test_exec_passes_the_exit_code_on(lab: LabDriver) -> None:
    assert command("exec", "--name", lab.name, "m1", "sh", "-c", "exit 7").returncode == 7


def test_every_host_knows_the_registry_by_name(lab: LabDriver) -> None:
    url = f"http://{layout.REGISTRY}/v2/"
    for name in lab.hosts:
        assert lab.output(name, "curl", "-sf", url) == "{}"


def test_the_hub_fetches_a_page_of_a_host(lab: LabDriver, page: str) -> None:
    assert lab.fetch("m2", 8000) == (200, page)


def test_an_image_that_was_pushed_runs_on_a_host(lab: LabDriver) -> None:
    reference = lab.push_image("hello:1", "cat", "/greeting", files={"greeting": "hello\n"})
    lab.output("w1", "ctr", "images", "pull", "--plain-http", reference)
    run = ("ctr", "run", "--rm", "--cgroup", "/e2e-hello", reference, "hello")
    assert lab.output("w1", *run) == "hello\n"


def test_a_partitioned_host_reaches_nobody_until_it_is_healed(lab: LabDriver, page: str) -> None:
    lab.partition("m2")
    try:
        assert not answers(lab, "m1", "m2")
        assert lab.exec("m2", "curl", "-s", "-m", "2", "http://registry:5000/").returncode != 0
        states = {state.name: state.state for state in lab.lab.states()}
        assert states == {"m1": "up", "m2": "partitioned", "w1": "up"}
    finally:
        lab.heal("m2")
    lab.wait_until(lambda: answers(lab, "m1", "m2"), what="m1 reaches m2 again")


def test_a_cut_between_two_hosts_leaves_the_third_alone(lab: LabDriver, page: str) -> None:
    lab.partition("m2", "m1")
    try:
        assert not answers(lab, "m1", "m2")
        assert answers(lab, "w1", "m2")
    finally:
        lab.heal("m2")
    lab.wait_until(lambda: answers(lab, "m1", "m2"), what="m1 reaches m2 again")


def test_a_power_cut_says_no_goodbye(lab: LabDriver, page: str) -> None:
    """The other side keeps an established connection: neither FIN nor RST has told it."""
    hold = "exec 3<>/dev/tcp/m2/8000; echo $$ >/run/hold.pid; sleep 60"
    argv = host.enter_argv(lab.lab.layout, "m1", ["bash", "-c", hold])
    holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    established = ("ss", "-Htn", "state", "established", "dst", lab.address("m2"))
    try:
        lab.wait_until(lambda: lab.output("m1", *established), what="m1 is connected to m2")
        lab.kill("m2")
        assert lab.output("m1", *established)
    finally:
        holder.kill()
        holder.wait()
        lab.start("m2")


def test_a_killed_host_is_gone_and_comes_back_with_its_disk(lab: LabDriver) -> None:
    disk = lab.lab.layout.state / "w1" / "pyswarm" / "kept"
    lab.output("w1", "sh", "-c", f"echo kept >{disk}; touch /run/lost")
    lab.output("w1", "mkdir", "/sys/fs/cgroup/left" if unified() else "/sys/fs/cgroup/pids/left")
    lab.kill("w1")
    assert not cgroups.remaining(lab.name, "w1")
    assert not cgroups.processes(lab.name, "w1")
    lab.start("w1")
    assert lab.output("w1", "cat", str(disk)) == "kept\n"
    assert lab.exec("w1", "test", "-e", "/run/lost").returncode == 1


def unified() -> bool:
    return any(hierarchy.only for hierarchy in cgroups.hierarchies())


def test_a_program_that_dies_is_started_again_and_nothing_else_is(lab: LabDriver) -> None:
    before = host.program_pid(lab.lab.layout, "m1", "containerd")
    init = host.running(lab.lab.layout, "m1")
    argv = host.enter_argv(lab.lab.layout, "m1", ["sleep", "300"])
    bystander = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        target = host.signal_program(lab.lab.layout, "m1", "containerd", signal.SIGKILL)
        assert process.wait_dead(target, 30)
        lab.wait_until(
            lambda: host.program_pid(lab.lab.layout, "m1", "containerd") not in (0, before),
            what="containerd of m1 runs again",
        )
        host.wait_ready(lab.lab.layout, "m1")
        assert bystander.poll() is None
        assert init.alive
    finally:
        bystander.kill()
        bystander.wait()


def test_a_program_on_hold_stays_down_until_it_is_released(lab: LabDriver) -> None:
    here = lab.lab.layout
    host.hold_program(here, "m1", "containerd", down=True)
    target = host.signal_program(here, "m1", "containerd", signal.SIGTERM)
    assert process.wait_dead(target, 30)
    lab.wait_until(
        lambda: not host.socket_answers(here, "m1", host.CONTAINERD_SOCKET), what="it is down"
    )
    host.hold_program(here, "m1", "containerd", down=False)
    host.wait_ready(here, "m1")


def test_stop_and_start_are_a_reboot(lab: LabDriver) -> None:
    # Not the number of a namespace: the kernel gives a free one out again.
    lab.output("w1", "touch", "/run/before-the-reboot")
    lab.stop("w1")
    refused = command("exec", "--name", lab.name, "w1", "true")
    assert refused.returncode == 1
    assert refused.stderr == "pyswarm lab: host w1 is off; start it with: pyswarm lab start w1\n"
    lab.start("w1")
    assert lab.exec("w1", "test", "-e", "/run/before-the-reboot").returncode == 1


def test_ls_prints_json(lab: LabDriver) -> None:
    rows = json.loads(command("ls", "--name", lab.name, "--format", "json").stdout)
    assert [row["name"] for row in rows] == ["m1", "m2", "w1"]
    assert rows[2] == {
        "name": "w1",
        "address": "10.66.2.1",
        "role": "worker",
        "state": "up",
        "containerd": "up",
        "daemon": "-",
        "socket": f"unix:///run/pyswarm-lab/{lab.name}/w1/pyswarm.sock",
    }


def test_a_second_lab_of_the_same_name_is_refused(lab: LabDriver) -> None:
    result = command("up", "--name", lab.name, "--no-daemon")
    assert result.returncode == 1
    assert "is there already; remove it with: pyswarm lab down" in result.stderr


def test_down_leaves_nothing_and_the_root_network_is_untouched(lab: LabDriver) -> None:
    """A second lab beside the first: up with a published port, used, and removed."""
    name = f"{lab.name}-b"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    before = links(), rules()
    try:
        arguments = ("--managers", "1", "--workers", "0", "--publish", f"{port}:5000")
        up = command("up", "--name", name, "--no-daemon", *arguments)
        assert up.returncode == 0, up.stderr
        second = Lab.open(name)
        web = "mkdir /run/www; echo published >/run/www/index.html; busybox httpd -p 5000 -h"
        assert second.execute("m1", "sh", "-c", f"{web} /run/www").returncode == 0
        url = f"http://127.0.0.1:{port}/"
        page = subprocess.run(
            ["curl", "-s", "--retry", "5", "--retry-all-errors", url], capture_output=True
        )
        assert page.stdout == b"published\n"
        assert (links(), rules()) == before
    finally:
        down = command("down", "--name", name)
    assert down.returncode == 0, down.stderr
    assert not cgroups.remaining(name)
    assert not (layout.STATE_ROOT / name).exists()
    assert not (layout.RUN_ROOT / name).exists()
    assert name not in Path("/proc/self/mountinfo").read_text()
    assert (links(), rules()) == before
    with socket.create_server(("127.0.0.1", port)):
        pass  # the forwarder is gone: its port is free


def links() -> str:
    return subprocess.check_output(["ip", "-brief", "link"], text=True)


def rules() -> str:
    return subprocess.check_output(["nft", "--stateless", "list", "ruleset"], text=True)


def test_down_cleans_up_after_an_up_that_was_killed(lab: LabDriver) -> None:
    name = f"{lab.name}-c"
    argv = [sys.executable, "-m", "pyswarm.lab", "up", "--name", name, "--no-daemon"]
    up = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert up.stdout is not None
        up.stdout.readline()  # the hub is there, hosts are on their way
        up.kill()
        up.wait()
        up.stdout.close()
    finally:
        down = command("down", "--name", name)
    assert down.returncode == 0, down.stderr
    assert not cgroups.processes(name)
    assert not cgroups.remaining(name)
    assert not (layout.STATE_ROOT / name).exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ls", "--name", "nowhere"), "no lab called nowhere is up"),
        (("up", "--name", "A_B"), "a lab's name has 1 to 20 lower-case letters"),
        (("up", "--name", "nowhere", "--managers", "0"), "at least 1 manager"),
        (("up", "--name", "nowhere", "--publish", "80"), "--publish takes PORT:PORT"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    result = command(*arguments)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_refused_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("up", "--name", "nowhere", "--publish", f"{port}:80")
    assert result.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be published" in result.stderr
    assert not (layout.STATE_ROOT / "nowhere").exists()


def test_removing_what_is_not_there_is_no_failure() -> None:
    nothing = layout.Layout(name="nowhere", hosts=())
    assert machine.remove(nothing) == []


def test_leftovers_name_what_a_host_gained_and_forget_what_it_lost(lab: LabDriver) -> None:
    before = lab.leftovers("m1")
    assert not lab.leftovers("m1") ^ before
    lab.output("m1", "ip", "link", "add", "name", "odd", "type", "bridge")
    lab.output("m1", "nft", "add", "table", "ip", "odd")
    lab.output("m1", "mkdir", "/run/odd")
    lab.output("m1", "mount", "-t", "tmpfs", "odd", "/run/odd")
    gained = lab.leftovers("m1") - before
    assert {"link odd", "rule table ip odd {", "mount /run/odd"} <= gained
    lab.output("m1", "umount", "/run/odd")
    lab.output("m1", "nft", "delete", "table", "ip", "odd")
    lab.output("m1", "ip", "link", "del", "odd")
    assert lab.leftovers("m1") == before
