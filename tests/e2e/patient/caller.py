"""Calls a server by its service's name all the time, and tells on port 9000 how it went."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from load import Load, Target


def main() -> None:
    """Call until killed; what has been counted so far is answered as JSON."""
    load = Load([Target(name, name, 8000) for name in sys.argv[1:]], workers=1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"answered": load.answered, "failures": load.failures}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    load.start()
    HTTPServer(("", 9000), Handler).serve_forever()


if __name__ == "__main__":
    main()
