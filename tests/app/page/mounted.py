"""A live server with the page on it."""

from contextlib import contextmanager

from live import Served, listening

from limner.app.page.build import mount
from limner.app.serve.application import create_app
from limner.app.serve.settings import Settings


@contextmanager
def paged(models, **settings):
    """A live server with the page."""
    app = mount(create_app(models, Settings(**settings)))
    with listening(app) as port:
        yield Served(app, port)
