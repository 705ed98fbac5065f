"""Asks a service of this machine whether its loop turns: ``python -m services.runtime.probe [PORT] [PAGE]``."""

import http.client
import sys

from services.runtime.http import WATCH_PORT

PATIENCE_S = 4.0


def is_well(port: int, page: str = "/healthz") -> bool:
    """Whether the page answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", page)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(0 if is_well(int(words[0]) if words else WATCH_PORT, *words[1:2]) else 1)
