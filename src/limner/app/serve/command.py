"""`limner serve`: answer over HTTP what the other commands answer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import tyro

from limner import catalog
from limner.app.console import Device, Json
from limner.app.serve.settings import Settings

KEY = "LIMNER_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve models over HTTP, with OpenAI's routes: http://HOST:PORT/v1. Ctrl-C ends it."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL ...")] = (catalog.DEFAULT,)
    """Models inside the package (limner models), checkpoint folders, or NAME=FOLDER to call one by another name."""
    host: str = Settings.host
    """The address to listen at; 0.0.0.0 lets other machines in."""
    port: int = Settings.port
    """The port; 0 takes any free one."""
    api_key: Annotated[str, tyro.conf.arg(help_behavior_hint=f"(default: {KEY} of the environment)")] = ""
    """The key that clients must give."""
    device: Device = "cpu"
    rows: int = Settings.rows
    """How many answers are made at the same time on a model."""
    queue: int = Settings.queue
    """How many more may wait; then clients are told to come again (429)."""
    most_n: int = Settings.n
    """The most answers of a request."""
    most_steps: int = Settings.steps
    """The most steps of a picture."""
    most_body: int = Settings.body
    """The most bytes of a request."""
    most_pixels: int = Settings.pixels
    """The most pixels of a picture, given or drawn."""
    json: Json = False

    def run(self) -> int:
        """Load the models and serve until interrupted."""
        settings = self.settings()
        named = dict(self._named(text) for text in self.models)
        if len(named) < len(self.models):
            raise ValueError("two models have the same name; call one by another, as NAME=FOLDER")
        for place in named.values():
            catalog.find(place)
        try:
            from limner.app.serve.run import serve
        except ImportError as error:
            raise ValueError(f"serving needs {error.name}: pip install 'limner[serve]'") from error
        return serve(named, settings, self.device, self.json)

    def settings(self) -> Settings:
        """The settings; ValueError for impossible ones."""
        return Settings(
            host=self.host,
            port=self.port,
            api_key=self.api_key or os.environ.get(KEY, ""),
            rows=self.rows,
            queue=self.queue,
            n=self.most_n,
            steps=self.most_steps,
            body=self.most_body,
            pixels=self.most_pixels,
        )

    @staticmethod
    def _named(text: str) -> tuple[str, str]:
        name, equals, place = text.partition("=")
        return (name, place) if equals else (text, text)
