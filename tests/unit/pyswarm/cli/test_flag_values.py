"""Every flag of a container: what it makes, how it is edited, and what a wrong value is told."""

import contextlib
import io

import pytest

from pyswarm.cli import main
from pyswarm.cli.flags.words import capabilities, env_file
from pyswarm.cli.service_flags import create_spec, update_spec
from pyswarm.model import (
    MemorySwap,
    Mount,
    MountRecursion,
    MountType,
    NetworkAttachmentConfig,
    ServiceSpec,
    Ulimit,
)

PARSER = main.build_parser()


def parsed(command, *words):
    return PARSER.parse_args(["service", command, *words])


def create(*flags):
    return create_spec(parsed("create", *flags, "nginx"), "web")


def update(old, *flags):
    return update_spec(parsed("update", *flags, "web"), old)


def refusal(command, *words):
    """What a wrong command line is told; its exit code is that of usage."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        parsed(command, *words)
    assert ended.value.code == main.USAGE_CODE
    sentence, hint = said.getvalue().splitlines()
    assert hint == f"See 'pyswarm service {command} --help'."
    return sentence.removeprefix(f"pyswarm service {command}: ")


# ---- what a right value makes ----


@pytest.mark.parametrize(
    ("flags", "field", "expected"),
    [
        (("--entrypoint", "sh -c 'a b'"), "command", ("sh", "-c", "a b")),
        (("-e", "A=1", "-e", "B=", "-e", "A=2"), "env", ("A=2", "B=")),
        (("--container-label", "a=b", "--container-label", "c"), "labels", {"a": "b", "c": ""}),
        (("--host", "db:10.0.0.1"), "hosts", ("10.0.0.1 db",)),
        (("--host", "six:::1"), "hosts", ("::1 six",)),
        (("--dns", "1.1.1.1", "--dns", "::1"), "dns_nameservers", ("1.1.1.1", "::1")),
        (("--dns-search", "a.example", "--dns-search", "."), "dns_search", ("a.example", ".")),
        (("--dns-option", "ndots:2"), "dns_options", ("ndots:2",)),
        (
            ("--ulimit", "nproc=5", "--ulimit", "nofile=64:-1"),
            "ulimits",
            (Ulimit(name="nofile", soft=64, hard=-1), Ulimit(name="nproc", soft=5, hard=5)),
        ),
        (("--sysctl", "net.core.somaxconn=10"), "sysctls", {"net.core.somaxconn": "10"}),
        (("--cap-add", "net_admin"), "capability_add", ("CAP_NET_ADMIN",)),
        (("--cap-drop", "ALL", "--cap-drop", "KILL"), "capability_drop", ("ALL",)),
        (("--init",), "init", True),
        (("--init=false",), "init", False),
        (("--read-only", "--init"), "read_only", True),
        (("--read-only", "-t"), "tty", True),
        (("--stop-signal", "SIGRTMIN+3"), "stop_signal", "SIGRTMIN+3"),
        (("--stop-grace-period", "1m"), "stop_grace_period_seconds", 60.0),
        (("--user", "nobody:nogroup"), "user", "nobody:nogroup"),
        (("--group", "audio", "--group", "7"), "groups", ("audio", "7")),
        (("-w", "/srv"), "workdir", "/srv"),
        (("--hostname", "{{.Node.Hostname}}"), "hostname", "{{.Node.Hostname}}"),
        (("--oom-score-adj", "-500"), "oom_score_adj", -500),
    ],
)
def test_a_flag_lands_in_its_field(flags, field, expected):
    assert getattr(create(*flags).task.container, field) == expected


def test_what_stands_behind_a_switch_is_the_image():
    args = parsed("create", "--init", "nginx", "--init", "x")
    assert (args.image, args.command, args.init) == ("nginx", ["--init", "x"], True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/d", Mount(target="/d")),
        (
            "type=bind,src=/a,dst=/b,ro,bind-propagation=rslave,bind-recursive=disabled",
            Mount(
                type=MountType.BIND,
                source="/a",
                target="/b",
                read_only=True,
                propagation="rslave",
                recursion=MountRecursion.DISABLED,
            ),
        ),
        (
            "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
            Mount(type=MountType.TMPFS, target="/t", tmpfs_size_bytes=1 << 20, tmpfs_mode=0o1770),
        ),
        (
            'source=v,target=/d,volume-nocopy,volume-label=a=b,"volume-opt=o=size=1m,uid=5",'
            "volume-driver=local",
            Mount(
                source="v",
                target="/d",
                no_copy=True,
                labels={"a": "b"},
                driver="local",
                driver_options={"o": "size=1m,uid=5"},
            ),
        ),
    ],
)
def test_a_mount_in_full(text, expected):
    assert create("--mount", text).task.container.mounts == (expected,)


def test_a_network_with_aliases():
    made = create("--network", "name=front,alias=a,alias=b", "--network", "back").task.networks
    assert made == (
        NetworkAttachmentConfig(target="front", aliases=("a", "b")),
        NetworkAttachmentConfig(target="back"),
    )


def test_swap_is_kept_where_it_says_something():
    def swap(*flags):
        return create(*flags).task.resources.memory_swap

    assert swap() is None
    assert swap("--memory-swap", "64m") == MemorySwap(swap_bytes=64 << 20)
    assert swap("--memory-swap", "-1", "--memory-swappiness", "10") == MemorySwap(
        swap_bytes=-1, swappiness=10
    )
    spec = create("--memory-swappiness", "10")
    assert update(spec, "--memory-swappiness", "-1").task.resources.memory_swap is None


# ---- variables ----


def test_a_variable_without_a_value_has_ours(monkeypatch):
    monkeypatch.setenv("HERE", "value")
    monkeypatch.delenv("NOWHERE", raising=False)
    assert create("-e", "HERE", "-e", "NOWHERE").task.container.env == ("HERE=value", "NOWHERE")


def test_a_file_of_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", "value")
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbf# comment\n\n  A=1 \r\nB= x\nHERE\nNOWHERE\nC=a=b\n")
    assert env_file(str(file)) == ["A=1 ", "B= x", "HERE=value", "C=a=b"]
    made = create("--env-file", str(file), "-e", "A=2").task.container.env
    assert made == ("A=2", "B= x", "HERE=value", "C=a=b")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"=x", "line 1: no variable name on line '=x'"),
        (b"A=1\nB C=1", "line 2: variable 'B C' contains whitespaces"),
        (b"A=\xff", "not UTF-8 text at line 1"),
        (b"A=" + b"x" * (1 << 20), "larger than"),
    ],
)
def test_a_bad_file_of_variables_names_the_line(tmp_path, content, words):
    file = tmp_path / "env"
    file.write_bytes(content)
    assert words in refusal("create", "--env-file", str(file), "nginx")


def test_a_file_that_is_not_there_is_named():
    assert "cannot read /no/such: No such file" in refusal("create", "--env-file", "/no/such", "x")


# ---- editing ----


def test_each_list_is_edited_by_its_key():
    old = create(
        *("-e", "A=1", "-l", "a=1", "--container-label", "c=1", "--host", "db:10.0.0.1"),
        *("--host", "db:10.0.0.2", "--dns", "1.1.1.1", "--dns-search", "x", "--group", "g"),
        *("--dns-option", "debug", "--ulimit", "nofile=1", "--sysctl", "net.a=1"),
        *("--mount", "source=v,target=/d", "--network", "front"),
    )
    removed = update(
        old,
        *("--env-rm", "A", "--label-rm", "a", "--container-label-rm", "c", "--host-rm", "db"),
        *("--dns-rm", "1.1.1.1", "--dns-search-rm", "x", "--group-rm", "g"),
        *("--dns-option-rm", "debug", "--ulimit-rm", "nofile", "--sysctl-rm", "net.a"),
        *("--mount-rm", "/d", "--network-rm", "front"),
    )
    assert removed == create()
    again = update(
        removed,
        *("--env-rm", "A", "--label-rm", "a", "--host-rm", "db", "--mount-rm", "/d"),
        *("--ulimit-rm", "nofile", "--publish-rm", "80", "--network-rm", "front"),
    )
    assert again == removed
    changed = update(
        old,
        *("--env-add", "A=2", "--label-add", "a=2", "--container-label-add", "c=2"),
        *("--ulimit-add", "nofile=2", "--sysctl-add", "net.a=2", "--host-rm", "db:10.0.0.1"),
        *("--mount-add", "source=w,target=/d", "--network-add", "name=front,alias=x"),
    )
    container = changed.task.container
    assert (container.env, changed.labels, container.labels) == (("A=2",), {"a": "2"}, {"c": "2"})
    assert container.ulimits == (Ulimit(name="nofile", soft=2, hard=2),)
    assert (container.sysctls, container.hosts) == ({"net.a": "2"}, ("10.0.0.2 db",))
    assert [m.source for m in container.mounts] == ["w"]
    assert changed.task.networks == (NetworkAttachmentConfig(target="front", aliases=("x",)),)


def test_a_single_value_is_replaced():
    old = create("--user", "1", "--init", "--hostname", "a", "--entrypoint", "sh", "-w", "/a")
    new = update(
        old,
        *("--user", "", "--init=false", "--hostname", "b", "--entrypoint", "", "--workdir", "/b"),
        *("--args", "x 'y z'", "--stop-signal", "INT", "--oom-score-adj", "7", "--tty"),
    )
    container = new.task.container
    assert (container.user, container.init, container.hostname) == ("", False, "b")
    assert (container.command, container.workdir, container.args) == ((), "/b", ("x", "y z"))
    assert (container.stop_signal, container.oom_score_adj, container.tty) == ("INT", 7, True)


@pytest.mark.parametrize(
    ("old", "add", "drop", "expected"),
    [
        ((), ("NET_ADMIN",), (), (("CAP_NET_ADMIN",), ())),
        ((), ("KILL",), ("KILL",), (("CAP_KILL",), ())),
        ((), ("ALL", "KILL"), ("CHOWN",), (("ALL",), ("CAP_CHOWN",))),
        ((), ("CHOWN",), ("ALL",), (("CAP_CHOWN",), ("ALL",))),
        (((), ("CAP_KILL",)), ("KILL",), (), ((), ())),
        ((("CAP_KILL",), ()), (), ("KILL",), ((), ())),
        ((("CAP_KILL",), ()), (), ("ALL",), ((), ("ALL",))),
        ((("CAP_KILL",), ("CAP_CHOWN",)), ("RESET",), ("RESET",), ((), ())),
        ((("CAP_KILL",), ()), ("RESET", "SYS_TIME"), (), (("CAP_SYS_TIME",), ())),
    ],
)
def test_capabilities_have_three_states(old, add, drop, expected):
    added, dropped = old or ((), ())
    assert capabilities((frozenset(added), frozenset(dropped)), add, drop) == expected


def test_log_options_go_with_their_driver():
    old = create("--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "max-file=2")
    assert old.task.log_options == {"max-size": "1m", "max-file": "2"}
    assert update(old, "--log-opt", "max-file=3").task.log_options == {
        "max-size": "1m",
        "max-file": "3",
    }
    assert update(old, "--log-driver", "none").task.log_options == {}


# ---- wrong values ----

WRONG = [
    ("env", "=x", "invalid environment variable"),
    ("label", "=x", "not of the form key=value"),
    ("container-label", "=x", "not of the form key=value"),
    ("host", "db", "bad format for add-host"),
    ("host", "db:nowhere", "invalid IP address in add-host"),
    ("dns", "one", "IP address is not correctly formatted: one"),
    ("dns-search", "a b", "invalid domain"),
    ("dns-option", "", "invalid DNS option"),
    ("ulimit", "nofile", "invalid ulimit argument"),
    ("ulimit", "files=1", "invalid ulimit type: files"),
    ("ulimit", "nofile=1:2:3", "too many limit value arguments"),
    ("ulimit", "nofile=x", "invalid ulimit value"),
    ("ulimit", "nofile=9:1", "must be less than or equal to hard limit: 9 > 1"),
    ("ulimit", "nofile=-1:1", "less than or equal"),
    ("sysctl", "net.ipv4.tcp_sack", "not of the form name=value"),
    ("sysctl", "kernel.panic=1", "is the host's"),
    ("cap-add", "FLY", "invalid capability: FLY"),
    ("cap-drop", "FLY", "invalid capability: FLY"),
    ("init", "maybe", None),
    ("tty", "maybe", None),
    ("read-only", "maybe", None),
    ("stop-signal", "SIGNOT", "invalid signal: SIGNOT"),
    ("stop-grace-period", "soon", "duration"),
    ("user", "a:b:c", "use NAME or UID"),
    ("group", "a b", "use a group's name or id"),
    ("entrypoint", "sh 'x", "no closing quotation"),
    ("workdir", "srv", "use an absolute path"),
    ("oom-score-adj", "2000", "from -1000 to 1000"),
    ("limit-pids", "-1", "whole number"),
    ("limit-pids", "many", "whole number"),
    ("limit-memory", "much", "size"),
    ("limit-cpu", "all", "cpus"),
    ("reserve-cpu", "-1", "cpus"),
    ("reserve-memory", "x", "size"),
    ("memory-swap", "x", "size"),
    ("memory-swappiness", "101", "from 0 to 100"),
    ("replicas", "two", "whole number"),
    ("replicas", "-1", "whole number"),
    ("credential-spec", "file://x", "are for Windows"),
    ("isolation", "glass", "use default, process or hyperv"),
    ("mount", "", "target is required"),
    ("mount", "type=volume", "target is required"),
    ("mount", "type=bind,target=/a", "source is required"),
    ("mount", "type=tmpfs,source=a,target=/a", "cannot specify source"),
    ("mount", "type=npipe,source=a,target=/a", "is for Windows"),
    ("mount", "type=magic,target=/a", "invalid mount type 'magic'"),
    ("mount", "target=/a,colour=red", "unexpected key 'colour' in 'colour=red'"),
    ("mount", "target=/a,source", "must be a key=value pair"),
    ("mount", "target=/a,target=/b", "target stands twice"),
    ("mount", "target=/a,dst=/b", "say the same"),
    ("mount", "target=/a,readonly=maybe", "invalid value for readonly: maybe"),
    ("mount", "type=bind,source=/a,target=/a,volume-nocopy", "cannot mix 'volume-*'"),
    ("mount", "type=volume,target=/a,bind-propagation=rslave", "cannot mix 'bind-*'"),
    ("mount", "type=bind,source=/a,target=/a,bind-propagation=x", "for bind-propagation: x"),
    ("mount", "type=bind,source=/a,target=/a,bind-recursive=x", "for bind-recursive: x"),
    ("mount", "type=bind,source=/a,target=/a,bind-recursive=readonly", "requires readonly"),
    ("mount", "type=tmpfs,target=/a,tmpfs-size=x", "invalid value for tmpfs-size: x"),
    ("mount", "type=tmpfs,target=/a,tmpfs-mode=99999", "invalid value for tmpfs-mode"),
    ("mount", 'target=/a,"', "mount"),
    ("network", "name=,alias=x", "network name/id is not specified"),
    ("network", "alias=x", "network name/id is not specified"),
    ("network", "name=x,colour=red", "unexpected key 'colour'"),
    ("network", "name=x,driver-opt=a=b", "no driver options"),
    ("publish", "x", "invalid target port (x)"),
    ("publish", "0", "invalid target port (0)"),
    ("publish", "70000:80", "invalid published port (70000)"),
    ("publish", "80/icmp", "invalid protocol value 'icmp'"),
    ("publish", "published=80", "missing mandatory field 'target'"),
    ("publish", "target=80,mode=mesh", "must be either 'ingress' or 'host'"),
    ("publish", "1-3:1-2", "not of one length"),
    ("publish", "3-1:3-1", "invalid published port range|invalid target port range"),
    ("publish", "127.0.0.1:80:80", "published on every address"),
    ("log-driver", "syslog", "log driver"),
    ("log-opt", "=x", "not of the form"),
]


@pytest.mark.parametrize(("flag", "value", "words"), WRONG)
def test_a_wrong_value_is_told_in_one_sentence(flag, value, words):
    said = refusal("create", f"--{flag}={value}", "nginx")
    if words is None:
        assert said == f'invalid argument "{value}" for "--{flag}" flag: use true or false'
        return
    assert said.startswith(f'invalid argument "{value}" for "--{flag}" flag: ')
    assert any(each in said for each in words.split("|")), said


EDITED = sorted({flag for flag, _, words in WRONG if words} - {"cap-add", "cap-drop", "log-opt"})


@pytest.mark.parametrize("flag", EDITED)
def test_the_same_is_told_in_an_update(flag):
    value = next(value for name, value, words in WRONG if name == flag and words)
    known = set(vars(parsed("update", "web")))
    name = f"{flag}-add" if f"{flag}_add".replace("-", "_") in known else flag
    assert f'for "--{name}" flag: ' in refusal("update", f"--{name}={value}", "web")


def test_every_flag_of_a_container_has_a_wrong_value_in_the_table():
    from pyswarm.cli.flags import container, logging, network, resources

    declared = {
        flag.name
        for theme in (container, logging, network, resources)
        for table in ("SINGLE", "SWITCHES", "LISTS")
        for flag in getattr(theme, table, ())
    }
    # Any text is a hostname here: a template is read by the managers.
    assert declared - {"hostname", "endpoint-mode", "generic-resource"} <= {f for f, _, _ in WRONG}


def test_isolation_is_accepted_with_a_word(capsys):
    from pyswarm.cli.service_flags import warn_ignored

    args = parsed("create", "--isolation", "process", "nginx")
    warn_ignored(args)
    assert capsys.readouterr().err == "WARNING: --isolation is ignored: it is for Windows\n"
    assert create_spec(args, "web") == create()


def test_update_args_must_be_quoted_right():
    assert "no closing quotation" in refusal("update", "--args", "a 'b", "web")


def test_help_shows_a_switch_once():
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        parsed("create", "--help")
    assert "--init=" not in said.getvalue()


def test_nothing_given_is_nothing_changed():
    old = create("-e", "A=1", "--cap-add", "KILL", "--memory-swap", "1m", "--mount", "target=/d")
    assert isinstance(old, ServiceSpec)
    assert update(old) == old


def test_a_flag_takes_the_next_word_whatever_it_begins_with():
    assert parsed("update", "--args", "-v", "--init", "web").args == ("-v",)
    assert parsed("create", "--hostname", "-bad-", "nginx").hostname == "-bad-"
    args = parsed("create", "-e", "A=1", "--memory-swap", "-1", "nginx", "--hostname", "-x")
    assert (args.memory_swap, args.command) == (-1, ["--hostname", "-x"])
    assert refusal("update", "web", "--args") == "flag needs an argument: --args"
