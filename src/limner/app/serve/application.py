"""The application: routes, limits and engines put together.

app = create_app({"tiny-mmada": limner.load("tiny-mmada")}, Settings())

The page is mounted on it: `app.state.shop` has the engines, through which all that is asked steps together.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from limner import __version__
from limner.app.serve import chat, errors, images
from limner.app.serve.engine import Engine
from limner.app.serve.gate import Gate
from limner.app.serve.meter import Meter
from limner.app.serve.settings import Settings
from limner.app.serve.shop import Shop

if TYPE_CHECKING:
    from limner.answer import Limner

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
GAUGES = {
    "rows_inside": "Answers that are waited for.",
    "rows_in_work": "Answers that step now.",
    "up_seconds": "Seconds since the server began.",
}


def create_app(models: Mapping[str, Limner], settings: Settings | None = None) -> FastAPI:
    """A server of these models, the first of which is meant where a request names none. ValueError for none at all.

    The engines begin at once and end with the application's lifespan.
    """
    if not models:
        raise ValueError("there is nothing to serve; give at least one model")
    settings = settings if settings is not None else Settings()
    meter, begun = Meter(), time.time()
    engines = {
        name: Engine(limner, rows=settings.rows, queue=settings.queue, meter=meter) for name, limner in models.items()
    }

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for engine in engines.values():
                engine.close()

    app = FastAPI(
        title="limner", version=__version__, description=__doc__.partition("\n")[0], lifespan=lifespan, redoc_url=None
    )
    shop = Shop(engines, settings)
    app.state.shop, app.state.meter = shop, meter
    errors.install(app)
    app.include_router(chat.router(shop))
    app.include_router(images.router(shop))

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """The models that are served."""
        return {"object": "list", "data": [_model(name, engine, begun) for name, engine in engines.items()]}

    @app.get("/v1/models/{name:path}")
    async def retrieve_model(name: str) -> dict[str, Any]:
        """One of them."""
        return _model(name, shop.engine(name), begun)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server is up."""
        return {"status": "ok", "version": __version__, "models": list(engines)}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """What was counted, as Prometheus reads it."""
        by_model = [({"model": name}, engine) for name, engine in engines.items()]
        gauges: dict[str, list[tuple[dict[str, str], float]]] = {
            "rows_inside": [(labels, engine.inside) for labels, engine in by_model],
            "rows_in_work": [(labels, engine.in_work) for labels, engine in by_model],
            "up_seconds": [({}, time.time() - begun)],
        }
        return PlainTextResponse(meter.text(gauges, GAUGES), media_type=PROMETHEUS)

    app.add_middleware(Gate, settings=settings, meter=meter)
    return app


def _model(name: str, engine: Engine, begun: float) -> dict[str, Any]:
    family = engine.limner.model.family
    return {"id": name, "object": "model", "created": int(begun), "owned_by": "limner", "family": family}
