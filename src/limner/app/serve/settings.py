"""How the server is set up: where it listens, who may ask, and how much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """``api_key`` "" lets everybody in who reaches the port.

    ``rows`` are made at the same time on a model and ``queue`` more may wait; ``n`` is the most pictures or choices of
    a request, ``steps`` the most steps of a picture, ``candidates`` the most that a verified request chooses from and
    ``budget`` the longest time for that in seconds. ``body`` is in bytes, ``pixels`` what a given picture or a drawn
    one may have, ``prompt`` characters of all messages together, ``pictures`` how many may be given.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str = ""
    rows: int = 16
    queue: int = 128
    n: int = 10
    steps: int = 200
    candidates: int = 64
    budget: float = 600.0
    body: int = 32 * 2**20
    pixels: int = 16_000_000
    prompt: int = 32_768
    pictures: int = 16

    def __post_init__(self) -> None:
        for name in ("rows", "queue", "n", "steps", "candidates", "budget", "body", "pixels", "prompt", "pictures"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be more than 0")
        if not 0 <= self.port < 2**16:
            raise ValueError(f"port={self.port} is impossible; give 0 (any free one) to 65535")
