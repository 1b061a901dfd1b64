"""Every option of a container, asked for on the command line and looked at inside the container."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import fails, ok, rows, running, wait_running

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=0)

# Each line is `name=what is so`; the last one says that all has been said.
_REPORT = r"""#!/bin/sh
say() { echo "$1=$2"; }
say id "$(id -u):$(id -g) $(id -G | tr ' ' '\n' | sort -n | tr '\n' ' ')"
say arguments "$*"
say hostname "$(hostname)"
say directory "$(pwd)"
say node "$NODE"; say slot "$SLOT"; say label "$LABEL"; say file "$FROM_FILE"; say wins "$WINS"
say init "$(tr '\0' ' ' </proc/1/cmdline)"
say pid "$(test $$ -ne 1 && echo 'not 1')"
say bounding "$(sed -n 's/^CapBnd:\t//p' /proc/self/status)"
say nofile "$(ulimit -Sn)/$(ulimit -Hn)"
say somaxconn "$(cat /proc/sys/net/core/somaxconn)"
say badness "$(cat /proc/self/oom_score_adj)"
say nameserver "$(sed -n 's/^nameserver //p' /etc/resolv.conf)"
say search "$(sed -n 's/^search //p' /etc/resolv.conf)"
say options "$(sed -n 's/^options //p' /etc/resolv.conf)"
say host "$(grep database /etc/hosts | tr '\t' ' ')"
say root "$(touch /here 2>&1 || true)"
say tmpfs "$(grep ' /scratch ' /proc/mounts | cut -d' ' -f3,4)"
say mode "$(stat -c %a /scratch)"
say bind "$(cat /bound/note) $(grep ' /bound ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1)"
say volume "$(echo kept >/data/x 2>/dev/null && cat /data/x)"
say terminal "$(test -t 0 && echo yes)"
say memory "$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null)"
say swap "$(cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null)"
say swappiness "$(cat /sys/fs/cgroup/memory/memory.swappiness 2>/dev/null)"
say pids "$(cat /sys/fs/cgroup/pids/pids.max 2>/dev/null)"
trap 'echo stopped by USR1; exit 0' USR1
trap 'exit 0' TERM
say done yes
while :; do sleep 3600 & wait $!; done
"""
_CHATTER = """#!/bin/sh
trap 'exit 0' TERM
number=0
while [ $number -lt 400 ]; do
  number=$((number + 1)); echo "line $number of a log that is turned over again and again"
done
while :; do sleep 3600 & wait $!; done
"""
# journald, as far as a container's output needs it: prints each entry on one line.
_JOURNAL = """
import os, socket
os.makedirs("/run/systemd/journal", exist_ok=True)
made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
made.bind("/run/systemd/journal/socket")
while True:
    entry = made.recv(1 << 18)
    with open("/run/systemd/entries", "ab") as file:
        file.write(entry.replace(b"\\n", b" ") + b"\\n")
"""


@pytest.fixture(scope="module")
def image(lab: LabDriver) -> str:
    return lab.push_image("report:1", "/report", files={"report": _REPORT, "chatter": _CHATTER})


def said(lab: LabDriver, service: str) -> dict[str, str]:
    """What the service's container has said of itself."""
    lines: list[str] = []

    def done() -> bool:
        text = ok(lab, "service", "logs", "--raw", service)
        lines[:] = [line.rstrip("\r") for line in text.splitlines()]
        return "done=yes" in lines

    lab.wait_until(done, what=f"{service} has said everything")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def state_directory(lab: LabDriver) -> Path:
    return Path(json.loads(ok(lab, "info", "--format", "json"))["state_directory"])


def test_every_option_holds_inside_the_container(
    lab: LabDriver, image: str, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("# of the file\nFROM_FILE=yes\nWINS=file\n")
    (tmp_path / "note").write_text("bound")
    tmp_path.chmod(0o755)
    ok(
        lab,
        *("service", "create", "--name", "all", "--detach", "--label", "tier.name=front"),
        *("--container-label", "c=d", "--env-file", f"{tmp_path}/env", "--env", "WINS=flag"),
        *("--env", "NODE={{.Node.Hostname}}", "--env", "SLOT={{.Task.Slot}}"),
        *("--env", 'LABEL={{index .Service.Labels "tier.name" | printf "%s!"}}'),
        *("--hostname", "{{.Service.Name}}-{{.Task.Slot}}-{{.Node.Hostname}}"),
        *("--user", "1000:1001", "--group", "nogroup", "--group", "7", "--workdir", "/srv/deep"),
        *("--entrypoint", "/report 'first word'", "--init", "--tty", "--read-only"),
        *("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--cap-add", "cap_kill"),
        *("--ulimit", "nofile=100:200", "--sysctl", "net.core.somaxconn=77"),
        *("--oom-score-adj", "321", "--stop-signal", "USR1", "--stop-grace-period", "20s"),
        *("--dns", "192.0.2.53", "--dns-search", "shop.example", "--dns-option", "ndots:3"),
        *("--host", "database:192.0.2.1"),
        *("--mount", "type=tmpfs,target=/scratch,tmpfs-size=65536,tmpfs-mode=1770"),
        *("--mount", f"type=bind,source={tmp_path},target=/bound,readonly"),
        *("--mount", "type=volume,source=kept-{{.Task.Slot}},target=/data"),
        *("--limit-memory", "32m", "--memory-swap", "16m", "--memory-swappiness", "7"),
        *("--limit-pids", "50", "--isolation", "default", image, "second", "--third"),
    )
    wait_running(lab, "all", 1)
    found = said(lab, "all")
    expected = {
        "id": "1000:1001 7 1001 65534 ",
        "arguments": "first word second --third",
        "hostname": "all-1-m1",
        "directory": "/srv/deep",
        "node": "m1",
        "slot": "1",
        "label": "front!",
        "file": "yes",
        "wins": "flag",
        "init": "/sbin/docker-init -- /report first word second --third ",
        "pid": "not 1",
        "bounding": f"{1 << 5 | 1 << 10:016x}",
        "nofile": "100/200",
        "somaxconn": "77",
        "badness": "321",
        "nameserver": "127.0.0.11",
        "search": "shop.example",
        "options": "ndots:3",
        "host": "192.0.2.1 database",
        "root": "touch: /here: Read-only file system",
        "mode": "1770",
        "bind": "bound ro",
        "terminal": "yes",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert re.fullmatch(r"tmpfs rw,.*size=64k,mode=1770.*", found["tmpfs"])
    if found["memory"]:  # the hierarchies of cgroup v1 are seen inside
        limits = [found[name] for name in ("memory", "swap", "swappiness", "pids")]
        assert limits == [str(32 << 20), str(48 << 20), "7", "50"]

    shown = ok(lab, "service", "inspect", "--pretty", "all")
    for line in ("Init:\t\ttrue", "CapabilityDrop:\tALL", "OomScoreAdj:\t321", "Swap:\t\t16MiB"):
        assert line in shown
    (inspected,) = json.loads(ok(lab, "service", "inspect", "all"))
    assert inspected["Spec"]["Task"]["Container"]["OomScoreAdj"] == 321

    ok(lab, "service", "rm", "--wait", "all")


def test_an_update_edits_what_the_container_has(lab: LabDriver, image: str) -> None:
    ok(lab, "network", "create", "spare")
    ok(
        lab,
        *(
            "service",
            "create",
            "--name",
            "edited",
            "--detach",
            "--env",
            "NODE=a",
            "--env",
            "SLOT=b",
        ),
        *("--host", "database:192.0.2.1", "--ulimit", "nofile=100", "--cap-drop", "ALL"),
        *("--mount", "type=tmpfs,target=/scratch,tmpfs-mode=700", "--network", "spare"),
        *("--stop-signal", "USR1", "--entrypoint", "/report"),
        image,
    )
    said(lab, "edited")
    ok(
        lab,
        *("service", "update", "--detach", "--env-rm", "SLOT", "--env-add", "NODE=c"),
        *("--host-rm", "database", "--host-add", "database:192.0.2.2"),
        *("--ulimit-add", "nofile=150", "--cap-add", "KILL", "--mount-rm", "/scratch"),
        *("--hostname", "renamed", "--args", "'one word' two", "--network-rm", "spare", "edited"),
    )
    lab.wait_until(
        lambda: "arguments=one word two" in ok(lab, "service", "logs", "--raw", "edited"),
        what="the new container has said its arguments",
    )
    wait_running(lab, "edited", 1)

    def of_the_new_one() -> dict[str, str]:
        (task,) = running(lab, "edited")
        return said(lab, task)

    found = of_the_new_one()
    expected = {
        "node": "c",
        "slot": "",
        "host": "192.0.2.2 database",
        "nofile": "150/150",
        "bounding": f"{1 << 5:016x}",
        "tmpfs": "",
        "hostname": "renamed",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "stopped by USR1" in ok(lab, "service", "logs", "--raw", "edited")
    (inspected,) = json.loads(ok(lab, "service", "inspect", "edited"))
    assert inspected["Spec"]["Task"]["Networks"] == []
    ok(lab, "service", "rm", "--wait", "edited")
    ok(lab, "network", "rm", "spare")


def test_a_log_is_turned_over_and_keeps_its_last_files(lab: LabDriver, image: str) -> None:
    ok(
        lab,
        *("service", "create", "--name", "chatter", "--detach", "--log-driver", "json-file"),
        *("--log-opt", "max-size=4k", "--log-opt", "max-file=3", "--log-opt", "tag={{.Name}}"),
        *(image, "/chatter"),
    )

    def last_line() -> bool:
        return ok(lab, "service", "logs", "--raw", "--tail", "1", "chatter").startswith("line 400 ")

    lab.wait_until(last_line, what="the last line is there")
    (task,) = running(lab, "chatter")
    (folder,) = state_directory(lab).glob(f"**/logs/{task}*")
    sizes = [path.stat().st_size for path in folder.glob("output.log*")]
    assert len(sizes) == 3
    assert max(sizes) <= 4096
    newest = max(folder.glob("output.log.*"), key=lambda path: int(path.suffix[1:]))
    attributes = json.loads(newest.read_text().splitlines()[-1])["attrs"]
    assert attributes["tag"].startswith("chatter.1.")
    ok(lab, "service", "rm", "--wait", "chatter")


def test_the_log_driver_none_is_said_where_logs_are_asked_for(lab: LabDriver, image: str) -> None:
    ok(lab, *("service", "create", "--name", "mute", "--detach", "--log-driver", "none"), image)
    wait_running(lab, "mute", 1)
    result = lab.pyswarm("service", "logs", "mute")
    assert result.stdout == ""
    assert "configured logging driver does not support reading" in result.stderr
    ok(lab, "service", "rm", "--wait", "mute")


def test_journald_is_refused_where_it_is_not_and_written_to_where_it_is(
    lab: LabDriver, image: str
) -> None:
    create = ("service", "create", "--detach", "--restart-condition", "none", "--log-driver")
    ok(lab, *create, "journald", "--name", "unheard", image)

    def refused() -> bool:
        shown = rows(lab, "service", "ps", "--no-trunc", "unheard")
        return any("this node has no journal" in row["Error"] for row in shown)

    lab.wait_until(refused, what="the task says that there is no journal")
    ok(lab, "service", "rm", "--wait", "unheard")

    journal = f"exec python3 -c '{_JOURNAL}' </dev/null >/dev/null 2>&1 & echo $!"
    pid = lab.output("m1", "sh", "-c", journal).strip()
    try:
        lab.wait_until(
            lambda: lab.exec("m1", "test", "-S", "/run/systemd/journal/socket").returncode == 0,
            what="a journal listens",
        )
        ok(lab, *create, "journald", "--log-opt", "tag=shop/{{.Name}}", "--name", "heard", image)
        assert said(lab, "heard")["hostname"]
        entries = lab.output("m1", "cat", "/run/systemd/entries").splitlines()
        (entry,) = (line for line in entries if line.startswith("MESSAGE=done=yes "))
        assert "PRIORITY=6" in entry
        assert f"IMAGE_NAME={image}" in entry
        assert "SYSLOG_IDENTIFIER=shop/heard.1." in entry
    finally:
        lab.exec("m1", "kill", pid)
    ok(lab, "service", "rm", "--wait", "heard")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ("--hostname", "{{.Task.Colour}}"),
            ".Task.Colour is not known, use one of ID, Name",
        ),
        (("--env", "A={{if}}"), "a value is missing"),
        (("--hostname", "-bad-"), "hostname '-bad-' is not valid"),
        (("--log-opt", "colour=red"), "unknown log opt 'colour' for json-file log driver"),
        (("--memory-swap", "1g"), "memory swap needs a memory limit"),
    ],
)
def test_what_no_node_can_do_is_refused_at_once(
    lab: LabDriver, flags: tuple[str, ...], words: str
) -> None:
    assert words in fails(lab, "service", "create", "--name", "bad", *flags, "nginx")
    assert all(row["Name"] != "bad" for row in rows(lab, "service", "ls"))


def test_a_wrong_value_is_a_usage_error(lab: LabDriver) -> None:
    result = lab.pyswarm("service", "create", "--ulimit", "files=1", "nginx")
    assert result.returncode == 125
    assert 'invalid argument "files=1" for "--ulimit" flag: invalid ulimit type' in result.stderr
