"""`limner judge serve`: a judge for other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from limner.app.console import Device, Json, json_line, line
from limner.app.verifying import Judge


@dataclass(frozen=True)
class JudgeServe:
    """Serve a judge over HTTP; elsewhere it is called reward:URL. Ctrl-C ends it."""

    judge: Judge = "scenes"
    port: Annotated[int, tyro.conf.arg(help="0 takes a free one.")] = 8100
    host: Annotated[str, tyro.conf.arg(help="The address it listens at; 0.0.0.0 for every network, unprotected.")] = (
        "127.0.0.1"
    )
    device: Device = "cpu"
    json: Json = False

    def run(self) -> int:
        """Serve until interrupted."""
        from limner.judges.named import find_verifier
        from limner.judges.remote import server

        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port {self.port}: give 0 to 65535")
        if self.judge == "self":
            raise ValueError("--judge self is the generator, which is not here; name another judge")
        with server(find_verifier(self.judge, device=self.device), self.host, self.port) as serving:
            url = f"http://{self.host}:{serving.server_address[1]}"
            if self.json:
                json_line({"url": url, "judge": self.judge})
            else:
                line("judge", f"{self.judge} at {url}; elsewhere: --judge reward:{url}")
            try:
                serving.serve_forever()
            except KeyboardInterrupt:
                return 0
        return 0
