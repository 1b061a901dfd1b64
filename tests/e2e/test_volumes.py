"""Volumes that keep their data, and secrets that are rotated, on two hosts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyswarm.testing.lab import LabDriver, LabSettings
from pyswarm.testing.swarm import containers, fails, ok, push_site, rows, running, wait_running

pytestmark = pytest.mark.e2e

LAB = LabSettings(managers=1, workers=1)

_LOOP = """#!/bin/sh
echo 0 >/hups
trap 'echo $(($(cat /hups) + 1)) >/hups' HUP
trap 'exit 0' TERM
while :; do sleep 1 & wait $!; done
"""


@pytest.fixture(scope="module")
def image(lab: LabDriver) -> str:
    """A server that counts its SIGHUPs in /hups."""
    push_site(lab)
    return lab.push_image("counts:1", "/loop", files={"loop": _LOOP, "init/seed": "from the image"})


def inside(lab: LabDriver, service: str, script: str) -> str:
    """What a shell says in the one container of a service."""
    ((task, node),) = wait_running(lab, service, 1).items()
    pid = next(pid for name, (pid, _) in containers(lab, node).items() if name.startswith(task))
    return lab.output(node, "nsenter", "--mount", "--target", pid, "/bin/sh", "-c", script).strip()


def secret_mounts(lab: LabDriver, host: str) -> int:
    """How many tasks of a host have secrets in memory."""
    text = lab.output(host, "grep", "-c", "", "/proc/self/mountinfo")
    assert int(text) > 0
    table = lab.output(host, "cat", "/proc/self/mountinfo").splitlines()
    return sum(1 for line in table if "/secrets/" in line.split(" ")[4] and " tmpfs " in line)


def on_disk(lab: LabDriver, host: str) -> Path:
    """What a host's daemon keeps."""
    return lab.lab.layout.state / host / "pyswarm"


def holders(lab: LabDriver, host: str, text: str, folder: str) -> str:
    """The files of a host in which a text stands."""
    return lab.exec(host, "grep", "-r", "-l", text, folder).stdout


def place(lab: LabDriver, service: str) -> str:
    """The host of a service's one task."""
    (node,) = wait_running(lab, service, 1).values()
    return node


def create(lab: LabDriver, name: str, image: str, *flags: str) -> None:
    quick = ("--update-monitor", "0s", "--stop-grace-period", "2s")
    ok(lab, "service", "create", "-q", "--name", name, *quick, *flags, image)


def test_a_volume_keeps_its_data_through_an_update_a_drain_and_a_new_service(
    lab: LabDriver, image: str
) -> None:
    mount = ("--mount", "type=volume,source=data,target=/init")
    create(lab, "db", image, *mount, "--constraint", "node.hostname==w1")
    assert inside(lab, "db", "cat /init/seed; echo kept >/init/mine") == "from the image"
    lab.wait_until(lambda: rows(lab, "volume", "ls"), what="the volume is known")
    (volume,) = rows(lab, "volume", "ls")
    assert (volume["Name"], volume["Nodes"], volume["Services"]) == ("data", "w1", "db")
    refused = fails(lab, "volume", "rm", "data")
    assert "remove data: volume is in use - [" in refused

    # Nothing but the data ties it to its node now, and an update leaves it there.
    ok(lab, "service", "update", "-q", "--constraint-rm", "node.hostname==w1", "db")
    assert (place(lab, "db"), inside(lab, "db", "cat /init/mine")) == ("w1", "kept")

    # A service that is made again finds it.
    ok(lab, "service", "rm", "db")
    lab.wait_until(lambda: not containers(lab, "w1"), what="the container is gone")
    create(lab, "db", image, *mount)
    assert (place(lab, "db"), inside(lab, "db", "cat /init/mine")) == ("w1", "kept")

    # While the node is drained it waits and says why; given up, it goes elsewhere without the data.
    ok(lab, "node", "update", "--availability", "drain", "w1")
    lab.wait_until(
        lambda: any(
            "volume data is on node w1" in row["Error"]
            for row in rows(lab, "service", "ps", "db", "--no-trunc")
        ),
        what="the reason is shown",
    )
    lab.wait_until(lambda: not running(lab, "db"), what="w1 is empty")
    assert ok(lab, "volume", "release", "data").strip() == "data"
    assert (place(lab, "db"), inside(lab, "db", "cat /init/mine || true")) == ("m1", "")
    ok(lab, "node", "update", "--availability", "active", "w1")

    ok(lab, "service", "rm", "db")
    lab.wait_until(lambda: not containers(lab, "m1"), what="the container is gone")
    assert ok(lab, "volume", "prune", "-f").strip() == "Total reclaimed space: 0B"
    said = ok(lab, "volume", "prune", "-f", "--all")
    assert said.startswith("Deleted Volumes:\ndata\n")
    assert "Total reclaimed space: 0B" not in said
    assert rows(lab, "volume", "ls") == []
    assert [path for host in lab.hosts for path in on_disk(lab, host).rglob("volumes/*")] == []


def test_a_volume_with_a_device_is_mounted_while_it_is_used(lab: LabDriver, image: str) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000")
    assert ok(lab, "volume", "create", *options, "--label", "a=b", "ram").strip() == "ram"
    assert ok(lab, "volume", "create", *options, "ram").strip() == "ram", "as in Docker"
    assert "other options" in fails(lab, "volume", "create", "ram")
    assert "missing required option" in fails(lab, "volume", "create", "-o", "type=nfs", "bad")
    create(lab, "ram", image, "--mount", "source=ram,target=/data")
    table = inside(lab, "ram", "grep ' /data ' /proc/1/mounts; stat -c %u /data")
    assert "tmpfs" in table
    assert "size=1024k" in table
    assert table.endswith("1000")
    (shown,) = json.loads(ok(lab, "volume", "inspect", "ram"))
    assert (shown["Labels"], shown["Options"]["type"]) == ({"a": "b"}, "tmpfs")
    assert json.loads(ok(lab, "inspect", "--type", "volume", shown["ID"][:9])) == [shown]
    of_volumes = ("--type", "volume", "-f", '{{.Name}} {{index .Labels "a"}}')
    assert ok(lab, "inspect", *of_volumes, "ram") == "ram b\n"
    assert ok(lab, "volume", "ls", "--format", "{{.Name}}") == "ram\n"
    ok(lab, "service", "rm", "ram")
    for host in lab.hosts:
        lab.wait_until(
            lambda host=host: "/volumes/ram" not in lab.output(host, "cat", "/proc/mounts"),
            what="the device is unmounted",
        )
    lab.wait_until(lambda: lab.pyswarm("volume", "rm", "ram").returncode == 0, what="it is free")
    assert "no such volume" in fails(lab, "volume", "rm", "ram")


def test_a_mount_s_options_bring_a_directory_or_memory_of_the_node(
    lab: LabDriver, image: str
) -> None:
    device = on_disk(lab, "w1").with_name("device")
    device.mkdir()
    (device / "mine").write_text("of the host")

    def local(name: str, target: str, kind: str, where: object, options: str) -> tuple[str, str]:
        fields = (f"source={name},target={target},volume-driver=local,volume-opt=type={kind}",)
        fields += (f"volume-opt=device={where}", f'"volume-opt=o={options}"')
        return "--mount", ",".join(("type=volume", *fields))

    mounts = (
        *local("host", "/host", "none", device, "bind"),
        *local("fixed", "/fixed", "none", device, "bind,ro"),
        *local("ram", "/ram", "tmpfs", "tmpfs", "size=2m,uid=1000"),
    )
    on_w1 = ("--constraint", "node.hostname==w1")
    create(lab, "opts", image, *mounts, *on_w1)
    said = inside(
        lab,
        "opts",
        "cat /host/mine /fixed/mine; echo ' out' >/host/theirs; touch /fixed/x 2>&1;"
        " grep -o ' /ram tmpfs .*' /proc/1/mounts",
    )
    assert said.startswith("of the hostof the host")
    assert "/fixed/x: Read-only file system" in said
    assert "size=2048k" in said
    assert "uid=1000" in said
    assert (device / "theirs").read_text() == " out\n"
    ok(lab, "service", "rm", "--wait", "opts")
    for name in ("host", "fixed", "ram"):
        lab.wait_until(lambda n=name: not lab.pyswarm("volume", "rm", n).returncode, what="free")
    assert (device / "theirs").exists(), "the volume goes, and not what it showed"

    def error(service: str) -> str:
        return "\n".join(r["Error"] for r in rows(lab, "service", "ps", "--no-trunc", service))

    # It comes up once the directory is there, on whichever node that is.
    ok(lab, "service", "create", "-d", "--name", "late", "--restart-delay", "0s",
       *local("late", "/late", "none", "/run/late", "bind"), image)  # fmt: skip
    wanted = "volume late: failed to mount local volume: /run/late does not exist on this node"
    lab.wait_until(lambda: wanted in error("late"), what="the missing directory is named")
    lab.output("w1", "mkdir", "/run/late")
    assert place(lab, "late") == "w1"
    if "\tnfs\n" not in Path("/proc/filesystems").read_text():
        far = local("far", "/far", "nfs", ":/srv", "addr=127.0.0.1,rw")
        ok(lab, "service", "create", "-d", "--name", "far", *far, image)
        lab.wait_until(
            lambda: "this node's kernel knows no file system 'nfs'" in error("far"),
            what="the missing file system is named",
        )
        ok(lab, "service", "rm", "--wait", "far")
    ok(lab, "service", "rm", "--wait", "late")
    lab.wait_until(lambda: not lab.pyswarm("volume", "rm", "late").returncode, what="free")
    assert rows(lab, "volume", "ls") == []


def test_only_a_node_with_a_task_that_needs_a_secret_has_it(
    lab: LabDriver, image: str, tmp_path: Path
) -> None:
    (tmp_path / "pw").write_text("hush")
    (tmp_path / "conf").write_text(
        'user={{env "WHO"}} on {{.Node.Hostname}} of {{.Service.Name}} pw={{secret "pw"}}'
    )
    ok(lab, "secret", "create", "-l", "tier=1", "pw", str(tmp_path / "pw"))
    ok(lab, "secret", "update", "--label-add", "tier=2", "pw")
    template = ("--template-driver", "golang")
    ok(lab, "config", "create", *template, "conf", str(tmp_path / "conf"))
    create(
        lab,
        "app",
        image,
        "-e",
        "WHO=me",
        "--secret",
        "source=pw,target=pw,uid=65534,mode=0400",
        "--config",
        "source=conf,target=/etc/app.conf",
        "--constraint",
        "node.hostname==w1",
    )
    text = inside(lab, "app", "cat /etc/app.conf; stat -c ' %u %a' /run/secrets/pw")
    assert text == "user=me on w1 of app pw=hush 65534 400"
    # The file with the secret in it is in memory, too.
    assert "tmpfs /etc/app.conf" in inside(lab, "app", "grep ' /etc/app.conf ' /proc/1/mounts")
    assert (secret_mounts(lab, "w1"), secret_mounts(lab, "m1")) == (1, 0)
    assert holders(lab, "w1", "app.conf", str(on_disk(lab, "w1"))) != ""
    assert holders(lab, "w1", "hush", str(on_disk(lab, "w1"))) == "", "never on disk"
    used = fails(lab, "secret", "rm", "pw")
    assert "secret 'pw' is in use by the following service: app" in used
    ok(lab, "service", "update", "-q", "--secret-rm", "pw", "--config-rm", "conf", "app")
    lab.wait_until(lambda: secret_mounts(lab, "w1") == 0, what="the last task took it away")
    assert holders(lab, "w1", "hush", "/run/pyswarm") == ""
    ok(lab, "service", "rm", "app")
    ok(lab, "config", "rm", "conf")
    ok(lab, "secret", "rm", "pw")


def test_a_rotation_reaches_services_by_an_update_or_in_place(
    lab: LabDriver, image: str, tmp_path: Path
) -> None:
    content = tmp_path / "pw"

    def rotate(text: str, *flags: str) -> str:
        content.write_text(text)
        return ok(lab, "secret", "rotate", "-q", *flags, "pw", str(content))

    content.write_text("one")
    ok(lab, "secret", "create", "pw", str(content))
    create(lab, "live", image, "--secret", "source=pw,rotation=live,signal=SIGHUP")
    create(lab, "auto", image, "--secret", "pw")
    before = running(lab, "live")
    said = rotate("two")
    assert said.splitlines()[0] == "pw: version 2"
    assert "auto: update begun" in said
    assert "live: replaced in its running tasks" in said
    assert inside(lab, "auto", "cat /run/secrets/pw") == "two"
    lab.wait_until(lambda: inside(lab, "live", "cat /run/secrets/pw /hups") == "two1", what="two")
    assert running(lab, "live") == before, "the same container"

    # By a rollback the old content comes back, and the next rotation brings it forward again.
    ok(lab, "service", "rollback", "-q", "auto")
    assert inside(lab, "auto", "cat /run/secrets/pw") == "one"
    tasks = running(lab, "auto")
    assert "auto: replaced in its running tasks" in rotate("three, longer", "--live")
    for name in ("auto", "live"):
        lab.wait_until(
            lambda name=name: inside(lab, name, "cat /run/secrets/pw") == "three, longer",
            what=f"{name} has it",
        )
    assert running(lab, "auto") == tasks
    (shown,) = json.loads(ok(lab, "secret", "inspect", "pw"))
    assert (shown["Version"], rows(lab, "secret", "ls")[0]["Version"]) == (3, "3")
    lab.wait_until(
        lambda: [v["Version"] for v in rows(lab, "secret", "versions", "pw")] == ["3", "2"],
        what="the oldest version is gone",
    )
    ok(lab, "service", "rm", "auto", "live")
    ok(lab, "secret", "rm", "pw")
    assert rows(lab, "secret", "ls") == []


def test_a_config_in_any_place_is_replaced_in_running_containers_and_leaves_no_mounts(
    lab: LabDriver, image: str, tmp_path: Path
) -> None:
    content = tmp_path / "site"
    content.write_text("one")
    ok(lab, "config", "create", "site", str(content))
    create(lab, "web", image, "--config", "source=site,target=/etc/conf.d/site.conf")
    before = running(lab, "web")
    (host,) = before.values()
    on_host = lab.output(host, "cat", "/proc/self/mountinfo")
    for hups, text in enumerate(("two, and longer", "3"), 1):
        content.write_text(text)
        said = ok(lab, "config", "rotate", "-q", "--live", "--signal=HUP", "site", str(content))
        assert "web: replaced in its running tasks" in said
        lab.wait_until(
            lambda hups=hups: inside(lab, "web", "cat /hups") == str(hups), what="the signal came"
        )
        assert inside(lab, "web", "cat /etc/conf.d/site.conf") == text
    assert running(lab, "web") == before, "the same container"
    assert lab.output(host, "cat", "/proc/self/mountinfo") == on_host
    ok(lab, "service", "rm", "web")
    ok(lab, "config", "rm", "site")
