"""A live server in a thread, and what its clients need."""

import io
import socket
import threading
import time
from contextlib import contextmanager

import httpx2
import openai
import uvicorn

from limner.app.serve.application import create_app
from limner.app.serve.lanes import Lane
from limner.app.serve.settings import Settings

PATIENCE = 300.0  # seconds: on a busy machine everything comes true later
http = httpx2.Client(timeout=PATIENCE)


@contextmanager
def listening(app):
    """The port at which an application is served, in a thread."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            until(lambda: server.started)
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def until(fact, seconds=PATIENCE):
    """Wait until a fact holds; fails where it does not within the time."""
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


class Served:
    """A live server as its clients see it."""

    def __init__(self, app, port):
        self.app, self.port, self.base = app, port, f"http://127.0.0.1:{port}"

    def client(self, key="none", **options):
        return openai.OpenAI(base_url=f"{self.base}/v1", api_key=key, max_retries=0, timeout=PATIENCE, **options)

    def engine(self, name):
        return self.app.state.shop.engines[name]


@contextmanager
def serving(models, **settings):
    """A live server of its own."""
    app = create_app(models, Settings(**settings))
    with listening(app) as port:
        yield Served(app, port)


class Held:
    """Steps of all engines that wait until they are let go."""

    def __init__(self, monkeypatch):
        self.steps, self._gate = 0, threading.Semaphore(0)
        step = Lane.step

        def held(lane):
            self._gate.acquire()
            self.steps += 1
            step(lane)

        monkeypatch.setattr(Lane, "step", held)

    def go(self, steps=10_000):
        """Let so many steps go; by default all that will come."""
        self._gate.release(steps)


def file_of(picture, form="PNG", **options):
    """A picture as the content of a file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()
