"""Containers on a real containerd: what a process in one sees, may do, and leaves behind."""

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pyswarm.daemon import interpreter
from pyswarm.errors import DeadlineExceeded, InvalidArgument, NotFound
from pyswarm.lab.cgroups import hierarchies
from pyswarm.model import Mount, MountRecursion, MountType, Resources, Ulimit
from pyswarm.testing import images
from pyswarm.testing.containerd import wait_until
from pyswarm.testing.images import TestImage


def output(node, *command, **wishes):
    async def scenario():
        async with node.runtime() as runtime:
            await runtime.pull(node.image)
        return await node.output(node.request(*command, **wishes))

    return interpreter.run(scenario())


def script(node, text, **wishes):
    return output(node, "sh", "-c", text, **wishes)


def with_container(node, request, scenario):
    """Run `scenario(runtime, pid)` while the container runs; it is deleted at the end."""

    async def inside():
        async with node.runtime() as runtime:
            await runtime.pull(request.container.image)
            await runtime.create(request)
            try:
                return await scenario(runtime, await runtime.start(request.id))
            finally:
                await runtime.delete(request.id)

    return interpreter.run(inside())


# ---- what it is given ----


def test_the_exit_code_is_told(node):
    assert script(node, "exit 42")[0] == 42


def test_environment_user_directory_and_hostname_are_those_of_the_service(node):
    code, said = script(
        node,
        "echo $GREETING $HOSTNAME; id -u; id -g; pwd; hostname; stat -c %u .",
        env=("GREETING=hello",),
        user="nobody",
        workdir="/srv/new/place",
    )
    assert (code, said.split()) == (
        0,
        ["hello", "box", "65534", "65534", "/srv/new/place", "box", "65534"],
    )


def test_the_image_names_command_user_and_directory_where_the_service_does_not(node):
    registry = node.stage.registry
    config = {
        "Entrypoint": ["sh", "-c"],
        "Cmd": ["id -u; pwd; echo $A"],
        "User": "nobody:root",
        "WorkingDir": "/tmp",
        "Env": ["PATH=/bin", "A=b"],
    }
    images.push(registry, "image:1", TestImage(config=config))
    request = node.request(image=f"{registry}/image:1")

    async def scenario():
        async with node.runtime() as runtime:
            await runtime.pull(request.container.image)
        return await node.output(request)

    assert interpreter.run(scenario()) == (0, "65534\n/tmp\nb")


def test_limits_are_in_the_cgroup(node):
    limits = Resources(memory_bytes=64 << 20, nano_cpus=500_000_000, pids=33)
    request = node.request("sleep", "1000", limits=limits)

    async def scenario(runtime, pid):
        inner = f"{node.stage.cgroup_parent.lstrip('/')}/{request.id}"
        found = {}
        names = {
            "memory.limit_in_bytes": "memory",
            "memory.max": "memory",
            "cpu.cfs_quota_us": "cpu",
            "cpu.max": "cpu",
            "pids.max": "pids",
        }
        for hierarchy in hierarchies():
            for file, what in names.items():
                path = hierarchy.mountpoint / inner / file
                if path.exists():
                    found[what] = path.read_text().split()[0]
        return found

    found = with_container(node, request, scenario)
    assert found == {"memory": str(64 << 20), "cpu": "50000", "pids": "33"}


def test_a_container_that_takes_too_much_memory_is_said_to_have_done_so(node):
    request = node.request(
        *("sh", "-c", "exec tail -c 200m /dev/zero"), limits=Resources(memory_bytes=16 << 20)
    )

    async def scenario(runtime, pid):
        return await runtime.wait(request.id)

    ended = with_container(node, request, scenario)
    assert (ended.exit_code, ended.out_of_memory) == (137, True)


def test_binds_volumes_and_tmpfs_are_mounted(node):
    directory = node.stage.directory / "mounts"
    (directory / "bind").mkdir(parents=True)
    (directory / "bind" / "file").write_text("from the host")
    mounts = [
        Mount(type=MountType.BIND, source=str(directory / "bind"), target="/bind"),
        Mount(type=MountType.BIND, source=str(directory / "bind"), target="/fixed", read_only=True),
        Mount(type=MountType.TMPFS, target="/scratch", tmpfs_size_bytes=1 << 20, tmpfs_mode=0o700),
    ]
    code, said = script(
        node,
        "cat /bind/file; echo; echo mine > /bind/new; touch /fixed/x 2>&1 || echo refused;"
        "grep -c ' /scratch tmpfs .*size=1024k,mode=700' /proc/mounts",
        mounts=mounts,
    )
    assert (code, (directory / "bind" / "new").read_text()) == (0, "mine\n")
    assert said.splitlines()[0] == "from the host"
    assert said.splitlines()[-1] == "1"
    assert "refused" in said


def test_mounts_below_a_bind_come_along_or_not_and_are_fixed_where_that_is_asked_for(node):
    top = node.stage.directory / "deep"
    below = top / "below"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", below], check=True)
    try:
        (below / "file").write_text("x")
        mounts = [
            Mount(
                type=MountType.BIND,
                source=str(top),
                target=f"/{recursion.name.lower()}",
                read_only=recursion is not MountRecursion.DISABLED,
                recursion=recursion,
            )
            for recursion in MountRecursion
        ]
        code, said = script(
            node,
            "for each in enabled writable readonly disabled; do"
            " test -e /$each/below/file && echo $each sees;"
            " touch /$each/below/new 2>/dev/null && echo $each writes; done; true",
            mounts=mounts,
        )
    finally:
        subprocess.run(["umount", below], check=True)
    assert code == 0
    seen = {line for line in said.splitlines() if line.endswith("sees")}
    assert seen == {"enabled sees", "writable sees", "readonly sees"}
    assert "readonly writes" not in said
    assert "writable writes" in said


def run_with_volume(node, registry, directory, command, **more):
    """Run a command with `directory/_data` as the volume /data, resolved as the agent does it."""
    wanted = Mount(type=MountType.VOLUME, source="data", target="/data", **more)
    bound = replace(wanted, type=MountType.BIND, source=str(directory / "_data"))
    image = f"{registry}/volume:1"
    request = node.request("sh", "-c", command, image=image, mounts=[bound])
    request = replace(request, container=replace(request.container, mounts=(wanted,)))

    async def scenario():
        async with node.runtime() as runtime:
            await runtime.pull(image)
        return await node.output(request)

    return interpreter.run(scenario())


def test_a_new_volume_begins_with_what_the_image_has_there(node):
    registry = node.stage.registry
    images.push(registry, "volume:1", TestImage(files={"data/deep/seed": "from the image"}))
    directory = node.stage.directory / "volume"
    (directory / "_data").mkdir(parents=True)
    command = "cat /data/deep/seed; rm -r /data/deep; touch /data/stays"
    assert run_with_volume(node, registry, directory, command) == (0, "from the image")
    assert [path.name for path in (directory / "_data").iterdir()] == ["stays"]
    assert run_with_volume(node, registry, directory, "ls /data") == (0, "stays")
    empty = node.stage.directory / "empty"
    (empty / "_data").mkdir(parents=True)
    assert run_with_volume(node, registry, empty, "ls /data", no_copy=True) == (0, "")


def test_a_copy_that_was_broken_off_is_done_again(node):
    registry = node.stage.registry
    images.push(registry, "volume:1", TestImage(files={"data/deep/seed": "from the image"}))
    directory = node.stage.directory / "broken"
    (directory / "_data").mkdir(parents=True)
    (directory / "_data" / "half").touch()
    (directory / "_copying").touch()
    assert run_with_volume(node, registry, directory, "cat /data/deep/seed")[0] == 0
    assert not (directory / "_copying").exists()


def test_the_network_namespace_is_the_one_that_is_given(node):
    path = node.stage.make_network("given")
    inode = os.stat(path).st_ino
    try:
        assert script(node, "readlink /proc/self/ns/net", namespace=path) == (0, f"net:[{inode}]")
    finally:
        subprocess.run(["umount", path], check=True)
        os.unlink(path)


def test_a_sysctl_of_the_network_is_set_in_it(node):
    said = script(
        node,
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        sysctls={"net.ipv4.ip_unprivileged_port_start": "80"},
    )
    assert said == (0, "80")


def test_an_init_reaps_and_passes_signals_on(node):
    if not any(Path(path).exists() for path in ("/usr/bin/tini-static", "/usr/bin/docker-init")):
        pytest.skip("tini is not installed")
    request = node.request("sleep", "1000", init=True)

    async def scenario(runtime, pid):
        # A signal that comes before the init listens is lost, as for every first process.
        children = Path(f"/proc/{pid}/task/{pid}/children")
        await asyncio.to_thread(wait_until, lambda: children.read_text().strip(), "it has a child")
        await runtime.kill(request.id, "SIGTERM")
        return await runtime.wait(request.id)

    assert with_container(node, request, scenario).exit_code == 143


def test_a_terminal_is_one_stream(node):
    assert script(node, "tty; echo both >&2", tty=True) == (0, "/dev/pts/0\r\nboth\r")


def test_resource_limits_are_set_as_far_as_this_machine_allows(node):
    ulimits = (Ulimit(name="nofile", soft=100, hard=200), Ulimit(name="core", soft=0, hard=0))
    assert script(node, "ulimit -n; ulimit -c", ulimits=ulimits) == (0, "100\n0")
    far = (Ulimit(name="nofile", soft=1 << 20, hard=1 << 20),)
    assert script(node, "true", ulimits=far)[0] == 0


# ---- what it may not do ----


def test_capabilities_are_dockers_and_none_is_inheritable(node):
    _, said = script(node, "grep Cap /proc/self/status")
    found = dict(line.split(":\t") for line in said.splitlines())
    assert found["CapBnd"] == found["CapEff"] == "00000000a80425fb"
    assert found["CapInh"] == found["CapAmb"] == "0" * 16
    _, said = script(node, "grep CapEff /proc/self/status", user="nobody")
    assert said.split()[1] == "0" * 16
    _, said = script(
        node, "grep CapEff /proc/self/status", capability_drop=("ALL",), capability_add=("chown",)
    )
    assert said.split()[1] == "0000000000000001"


@pytest.mark.parametrize(
    "command",
    [
        "unshare -U true",
        "unshare -m true",
        "mount -t tmpfs none /tmp",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "mknod /dev/mem2 c 1 1 && head -c 1 /dev/mem2",
        "hostname other",
        "cat /proc/kcore | head -c 1 | grep -c . | grep -v 0",
    ],
)
def test_what_would_lead_out_is_refused(node, command):
    assert script(node, command)[0] != 0


def test_no_new_privileges_is_set_on_request(node):
    assert script(node, "grep NoNewPrivs /proc/self/status")[1].split()[1] == "0"
    said = script(node, "grep NoNewPrivs /proc/self/status", no_new_privileges=True)
    assert said[1].split()[1] == "1"


def test_seccomp_filters_and_the_root_can_be_read_only(node):
    assert script(node, "grep Seccomp: /proc/self/status")[1].split()[1] == "2"
    assert script(node, "touch /x", read_only=True)[0] != 0


def test_secrets_cannot_be_written_and_are_in_memory(node):
    secrets = node.stage.directory / "secrets"
    secrets.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", secrets], check=True)
    try:
        (secrets / "password").write_text("hidden")
        subprocess.run(["mount", "-o", "remount,ro", secrets], check=True)
        mount = Mount(
            type=MountType.BIND, source=str(secrets), target="/run/secrets", read_only=True
        )
        code, said = script(
            node,
            "cat /run/secrets/password; echo; touch /run/secrets/x 2>&1 || echo refused;"
            "grep -c ' /run/secrets tmpfs ro' /proc/mounts",
            mounts=[mount],
        )
    finally:
        subprocess.run(["umount", secrets], check=True)
    lines = said.splitlines()
    assert (code, lines[0], lines[-1]) == (0, "hidden", "1")
    assert "refused" in lines


# ---- what is told ----


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"command": ("nope",)}, 'created: exec: "nope": executable file not found in'),
        ({"user": "stranger"}, 'the image has no user "stranger" in its /etc/passwd'),
        ({"workdir": "/proc/self/fd/7"}, "cannot be the working directory"),
        ({"stop_signal": "SIGNOPE"}, '"SIGNOPE" is no signal'),
        ({"capability_add": ("FLY",)}, '"FLY" is no capability'),
        ({"image": "localhost/none:1"}, "image localhost/none:1 is not on this node"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_is_told_in_one_sentence(node, wishes, sentence):
    command = wishes.get("command", ("true",))
    wishes = {key: value for key, value in wishes.items() if key != "command"}

    async def scenario():
        async with node.runtime() as runtime:
            await runtime.pull(node.image)
            with pytest.raises((InvalidArgument, NotFound)) as caught:
                await runtime.create(node.request(*command, **wishes))
            return caught.value.message, await runtime.list()

    message, left = interpreter.run(scenario())
    assert sentence in message
    assert "\n" not in message
    assert left == []


# ---- its life ----


def test_the_stop_signal_is_the_services_and_a_deaf_container_is_killed(node):
    text = "trap 'exit 5' USR1; trap '' TERM; echo up; while true; do sleep 0.1; done"
    request = node.request("sh", "-c", text, stop_signal="SIGUSR1")

    async def scenario(runtime, pid):
        async for line in runtime.logs(request.id, follow=True, tail=-1, since=0.0):
            if line is not None:
                break  # it is up: its traps are set
        await runtime.kill(request.id, "SIGTERM")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await runtime.wait(request.id)
        await runtime.kill(request.id, "")
        ended = await runtime.wait(request.id)
        with pytest.raises(NotFound):
            await runtime.kill(request.id, "SIGTERM")
        return ended.exit_code

    assert with_container(node, request, scenario) == 5


def test_a_killed_container_ends_with_137(node):
    request = node.request("sleep", "1000")

    async def scenario(runtime, pid):
        waits = [runtime.wait(request.id) for _ in range(3)]
        await runtime.kill(request.id, "SIGKILL")
        return {ended.exit_code for ended in await asyncio.gather(*waits)}

    assert with_container(node, request, scenario) == {137}


def test_every_step_can_be_repeated(node):
    request = node.request("sleep", "1000")

    async def scenario(runtime, pid):
        assert await runtime.start(request.id) == pid
        await runtime.create(request)
        [seen] = await runtime.list()
        assert (seen.started, seen.exit_code) == (False, None)
        again = await runtime.start(request.id)
        assert again != pid
        await runtime.delete(request.id)
        await runtime.delete(request.id)
        with pytest.raises(NotFound):
            await runtime.wait(request.id)
        await runtime.delete_logs(request.id)
        await runtime.delete_logs(request.id)
        return await runtime.list()

    assert with_container(node, request, scenario) == []


def test_a_creation_that_is_cancelled_leaves_nothing(node):
    async def scenario():
        async with node.runtime() as runtime:
            await runtime.pull(node.image)
            for part in range(12):
                request = node.request("sleep", "1000")
                try:
                    async with asyncio.timeout(0.01 * part):
                        await runtime.create(request)
                except TimeoutError:
                    continue
                await runtime.delete(request.id)
            return await runtime.list()

    assert interpreter.run(scenario()) == []


def test_a_program_is_run_in_the_container_as_its_user(node):
    request = node.request("sleep", "1000", user="nobody", workdir="/tmp")

    async def scenario(runtime, pid):
        argv = ["sh", "-c", "id -u; pwd; head -c 100000 /dev/zero | tr '\\0' x; exit 3"]
        code, said = await runtime.execute(request.id, argv, 30.0)
        assert (code, len(said), said.split()[:2]) == (3, 4096, [b"65534", b"/tmp"])
        with pytest.raises(DeadlineExceeded):
            await runtime.execute(request.id, ["sleep", "1000"], 0.3)
        with pytest.raises(InvalidArgument, match="executable file not found"):
            await runtime.execute(request.id, ["nope"], 30.0)
        return await runtime.execute(request.id, ["sh", "-c", "ps | grep '[s]leep 1000'"], 30.0)

    code, said = with_container(node, request, scenario)
    assert (code, said.split()[0], len(said.splitlines())) == (0, b"1", 1)


def test_twenty_containers_start_at_once(node):
    async def scenario():
        async with node.runtime() as runtime:
            await runtime.pull(node.image)
            requests = [node.request("sleep", "1000") for _ in range(20)]

            async def up(request):
                await runtime.create(request)
                return await runtime.start(request.id)

            pids = await asyncio.gather(*map(up, requests))
            seen = await runtime.list()
            await asyncio.gather(*(runtime.delete(request.id) for request in requests))
            return pids, seen, await runtime.list()

    pids, seen, left = interpreter.run(scenario())
    assert sorted(pids) == sorted(each.pid for each in seen)
    assert left == []
    assert node.stage.processes() == []
