"""The small server that lies beside a Neuroglancer export: browsers read another page's data only if they are let."""

from __future__ import annotations

from services.exports.precomputed_parts import PORT

SERVER = f'''"""Serves this folder to Neuroglancer on this machine alone:  python serve.py"""

import functools
import http.server
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


class Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    print("serving", HERE, "on port {PORT}; open one of these, stop with Ctrl-C:")
    for link in sorted(HERE.glob("*/link.txt")):
        print(link.parent.name, link.read_text().strip(), sep="\\n")
    address = ("127.0.0.1", {PORT})
    http.server.ThreadingHTTPServer(address, functools.partial(Handler, directory=HERE)).serve_forever()
'''
