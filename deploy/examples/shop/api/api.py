"""The shop's API: counts visits in the cache. Standard library only."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

CACHE_HOST = os.environ.get("CACHE_HOST", "cache")
CACHE_PORT = int(os.environ.get("CACHE_PORT", "6379"))
PASSWORD_FILE = os.environ.get("CACHE_PASSWORD_FILE", "/run/secrets/cache_password")
TIMEOUT_SECONDS = 3.0


def ask(stream: BinaryIO, *words: str) -> str:
    """One command in redis' protocol (RESP 2) and its one-line answer; OSError for an error."""
    parts = [f"*{len(words)}\r\n".encode()]
    parts += [f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words]
    stream.write(b"".join(parts))
    stream.flush()
    answer = stream.readline(256).decode().rstrip("\r\n")
    if not answer or answer.startswith("-"):
        raise OSError(f"the cache answered {answer[1:] or 'nothing'}")
    return answer[1:]


def count_visit() -> int:
    """One more visit; returns their number."""
    password = Path(PASSWORD_FILE).read_text().strip()
    address = (CACHE_HOST, CACHE_PORT)
    with (
        socket.create_connection(address, timeout=TIMEOUT_SECONDS) as connection,
        connection.makefile("rwb") as stream,
    ):
        ask(stream, "AUTH", password)
        return int(ask(stream, "INCR", "visits"))


class Handler(BaseHTTPRequestHandler):
    """`/healthz` answers for this program alone; everything else is a visit."""

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/healthz":
            self.answer(200, "ok\n")
            return
        try:
            visits = count_visit()
        except OSError as failure:
            self.answer(503, f"the cache cannot be reached: {failure}\n")
            return
        self.answer(200, f"visit {visits}, counted by {socket.gethostname()}\n")

    def answer(self, status: int, text: str) -> None:
        """Send a whole response of plain text."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until SIGTERM; requests that have begun are finished."""
    server = ThreadingHTTPServer(("", 8000), Handler)
    server.daemon_threads = False

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    print("api listens on port 8000", file=sys.stderr)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
