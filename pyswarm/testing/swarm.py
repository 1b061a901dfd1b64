"""What an end-to-end test asks of a swarm: its commands' answers, its tasks, its containers."""

from __future__ import annotations

import json
from typing import Any

from pyswarm.testing.lab import LabDriver

# A server for tests: it answers its own name at /, and runs small programs at /cgi-bin/.
_SERVE = """#!/bin/sh
hostname >/www/index.html
echo "up: $(hostname)"
httpd -p 80 -h /www
trap 'echo "bye: $(hostname)"; exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""
_PROGRAM = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n"
# A static busybox's own resolver wants glibc's shared modules (and its `wget -T` crashes).
_GET = (
    _PROGRAM
    + """name=${QUERY_STRING%%/*}
case $name in
*[a-z]*) address=$(nslookup -type=a $name 127.0.0.11 | sed -n '/^Name:/,$s/^Address: *//p') ;;
*) address=$name ;;
esac
timeout 3 wget -q -O - http://$address/${QUERY_STRING#*/} 2>&1 || echo refused
"""
)
SITE_FILES = {
    "serve": _SERVE,
    "www/cgi-bin/lookup": _PROGRAM + "nslookup -type=a $QUERY_STRING 127.0.0.11 2>&1\n",
    "www/cgi-bin/get": _GET,
    "www/cgi-bin/cat": _PROGRAM + "cat $QUERY_STRING 2>&1\n",
    "www/cgi-bin/keep": _PROGRAM + "echo $QUERY_STRING >>/data/kept; cat /data/kept\n",
}


def push_site(lab: LabDriver) -> str:
    """Push the image of the test's server; returns its reference."""
    return lab.push_image("site:1", "/serve", files=SITE_FILES)


def ok(lab: LabDriver, *arguments: str, host: str = "m1") -> str:
    """The standard output of a `pyswarm` command that must succeed."""
    return lab.output(host, "pyswarm", *arguments)


def fails(lab: LabDriver, *arguments: str, host: str = "m1", code: int = 1) -> str:
    """The one sentence with which a `pyswarm` command must refuse."""
    result = lab.pyswarm(*arguments, host=host)
    said = f"{result.stdout}{result.stderr}"
    assert result.returncode == code, f"{' '.join(arguments)}: {result.returncode}: {said}"
    assert "Traceback" not in said, said
    assert len(result.stderr.strip().splitlines()) == 1, said
    return result.stderr.strip()


def rows(lab: LabDriver, *arguments: str, host: str = "m1") -> list[dict[str, Any]]:
    """The rows of a listing command."""
    text = ok(lab, *arguments, "--format", "json", host=host)
    return [json.loads(line) for line in text.splitlines()]


def nodes(lab: LabDriver, host: str = "m1") -> dict[str, dict[str, Any]]:
    """The rows of `node ls` by hostname; of two with one name the last."""
    return {row["Hostname"]: row for row in rows(lab, "node", "ls", host=host)}


def leader(lab: LabDriver, host: str = "m1") -> str:
    """The hostname of the manager that leads, or an empty text while there is none."""
    leads = (name for name, row in nodes(lab, host).items() if row["ManagerStatus"] == "Leader")
    return next(leads, "")


def running(lab: LabDriver, service: str, host: str = "m1") -> dict[str, str]:
    """The tasks of a service that run and are to run: short task id and the node's hostname."""
    return {
        row["ID"]: row["Node"]
        for row in rows(lab, "service", "ps", service, host=host)
        if row["DesiredState"] == "Running" and row["CurrentState"].startswith("Running")
    }


def wait_running(
    lab: LabDriver, service: str, count: int, host: str = "m1", deadline_seconds: float = 60.0
) -> dict[str, str]:
    """Wait until a service runs as many tasks; returns them as `running` does."""
    seen: dict[str, str] = {}

    def settled() -> bool:
        seen.clear()
        seen.update(running(lab, service, host))
        return len(seen) == count

    what = f"{service} runs {count} tasks"
    lab.wait_until(settled, deadline_seconds=deadline_seconds, what=what)
    return dict(seen)


def wait_page(lab: LabDriver, host: str, port: int = 8080, path: str = "/") -> str:
    """Wait until a page is served at a host's published port; returns the body."""
    body: list[str] = []

    def served() -> bool:
        status, text = lab.fetch(host, port, path)
        body[:] = [text]
        return status == 200

    lab.wait_until(served, what=f"{host}:{port}{path} is served")
    return body[0]


def wait_spread(lab: LabDriver, host: str, count: int, port: int = 8080) -> None:
    """Wait until as many different containers have answered at a host's published port."""
    seen: set[str] = set()

    def spread() -> bool:
        status, text = lab.fetch(host, port)
        assert status == 200
        seen.add(text)
        assert len(seen) <= count, seen
        return len(seen) == count

    lab.wait_until(spread, what=f"{count} backends answer at {host}:{port}")


def containers(lab: LabDriver, host: str) -> dict[str, tuple[str, str]]:
    """Running containers of a host: id, and (pid, start in clock ticks after boot)."""
    script = (
        "ctr namespaces list --quiet | while read -r each; do"
        " ctr --namespace $each tasks list | grep RUNNING | while read -r id pid rest; do"
        '  echo "$id $pid $(sed "s/.*) //" /proc/$pid/stat | cut -d" " -f20)"; done; done'
    )
    lines = (line.split() for line in lab.output(host, "sh", "-c", script).splitlines())
    return {name: (pid, start) for name, pid, start in lines}
