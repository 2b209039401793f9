"""The page put together: its parts as tabs, its look, and how it is mounted on the server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from starlette.responses import RedirectResponse

from limner.app.page.forms import Place, ask, draw, edit, extend
from limner.app.page.gallery import gallery
from limner.app.page.session import Session, new_session
from limner.app.page.talk import talk

if TYPE_CHECKING:
    from fastapi import FastAPI

    from limner.app.serve.shop import Shop

PATH = "/page"
HOUR = 3600
STYLE = Path(__file__).with_name("page.css")
# the visitor's own fonts: the page asks nobody else for anything
THEME = gr.themes.Base(
    primary_hue="blue",
    font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
    font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
)


def build(shop: Shop) -> gr.Blocks:
    """The page of a server's models."""
    with gr.Blocks(title="limner", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        session = gr.State(new_session, time_to_live=12 * HOUR, delete_callback=Session.close)
        gr.Markdown("# limner\nModels that think before they draw.")
        names = list(shop.engines)
        model = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1)
        place = Place(shop, session, model)
        fields: dict[str, gr.Image] = {}
        with gr.Tabs():
            with gr.Tab("Draw", id="draw"):
                draw(place)
            with gr.Tab("Ask", id="ask"):
                fields["Ask"] = ask(place)
            with gr.Tab("Edit", id="edit"):
                fields["Edit"] = edit(place)
            with gr.Tab("Extend", id="extend"):
                fields["Extend"] = extend(place)
            with gr.Tab("Talk", id="talk"):
                talk(place)
            with gr.Tab("Gallery", id="gallery-tab") as tab:
                shown, fill = gallery(session, fields)
        tab.select(fill, [session], [shown], show_progress="hidden", api_visibility="private")
    return page


def mount(app: FastAPI) -> FastAPI:
    """The page on a server that `create_app` made, at `PATH`; whoever opens the server's root is sent there."""
    shop: Shop = app.state.shop
    page = build(shop).queue(default_concurrency_limit=None, api_open=False)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        """To the page."""
        return RedirectResponse(PATH)

    return gr.mount_gradio_app(
        app,
        page,
        PATH,
        theme=THEME,
        css_paths=STYLE,
        footer_links=[],
        show_error=False,
        max_file_size=shop.settings.body,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )
