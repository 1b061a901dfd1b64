"""A server that ends as a good one does: on SIGTERM it takes nothing new, and finishes the rest.

`/` answers its name at once, `/slow` after a second; nothing else of it is patient.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Each connection is one request, and is closed by the server."""

    def do_GET(self) -> None:
        """Answer this container's name."""
        if self.path == "/slow":
            time.sleep(1.0)
        body = f"{socket.gethostname()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Thousands of lines would say nothing."""


class Server(ThreadingHTTPServer):
    """Finishes what it began."""

    daemon_threads = False
    request_queue_size = 128


def main() -> None:
    """Serve until SIGTERM."""
    server = Server(("", 8000), Handler)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    print("every request was answered", flush=True)


if __name__ == "__main__":
    main()
