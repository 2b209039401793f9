"""The server in a process: models loaded, a socket, a line where it listens, and uvicorn until it is told to end."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import uvicorn

from limner.answer import Limner
from limner.app.console import json_line, line
from limner.app.page.build import PATH, mount
from limner.app.serve import log
from limner.app.serve.application import create_app
from limner.app.serve.settings import Settings

GRACE = 10  # seconds that answers in the making have when the server is told to end


def serve(models: Mapping[str, str], settings: Settings, device: str = "cpu", json: bool = False) -> int:
    """Serve models (name -> where they are) and the page until interrupted; the exit status. Lines say where, or one
    JSON line if so wished."""
    with _bound(settings.host, settings.port) as bound:
        loaded = {name: _called(Limner.load(place, device=device), name) for name, place in models.items()}
        log.to_standard_error()
        app = mount(create_app(loaded, settings))
        host, port = bound.getsockname()[:2]
        root = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        if json:
            json_line({"models": list(loaded), "url": f"{root}/v1", "page": f"{root}{PATH}"})
        else:
            line("serving", f"{', '.join(loaded)} at {root}/v1")
            line("page", f"{root}{PATH}")
        config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
        config.timeout_graceful_shutdown = GRACE
        uvicorn.Server(config).run(sockets=[bound])
    return 0


def _called(limner: Limner, name: str) -> Limner:
    return limner if limner.name == name else Limner(limner.model, name)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; ValueError where that is impossible."""
    try:
        (family, kind, proto, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ValueError(f"there is no address {host!r}: {error.strerror or error}") from error
    bound = socket.socket(family, kind, proto)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ValueError(f"nothing can listen at {host} port {port}: {error.strerror or error}") from error
    return bound
