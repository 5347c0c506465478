"""The page: its parts, and which event each of them starts. Made with Gradio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from diptych.web.page_actions import Actions
from diptych.web.page_events import Events, directions_of, file_label, shows, sizes_of, usual_size

SLIDER_END = 3  # times as much as learned; programs may ask for more
HERE = Path(__file__).parent
CSS = (HERE / "page.css").read_text("utf-8")
SCRIPT = (HERE / "page.js").read_text("utf-8")
FAVICON = HERE / "favicon.svg"
HEADER = """<header><svg viewBox="0 0 32 32" aria-hidden="true"><path d="M3 7l12-3v24L3 25z"/>
<path d="M17 4l12 3v18l-12 3z"/></svg><h1>diptych</h1></header>"""
FOOTER = '<p class="foot">There is an <a href="docs">API</a> too.</p>'


def make_theme() -> gr.themes.Base:
    """Calm colours, and fonts that every system has."""
    return gr.themes.Default(
        primary_hue="orange",
        neutral_hue="zinc",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def make_page(actions: Actions) -> gr.Blocks:
    """The page, ready to be mounted."""
    events = Events(actions)
    models = events.models
    first = next(iter(models.values()))

    page = gr.Blocks(title="diptych", analytics_enabled=False, fill_width=True)
    with page:
        gr.HTML(HEADER, padding=False)
        with gr.Row(elem_id="choices"):
            model = gr.Dropdown(
                list(models), value=first.name, label="Model", visible=len(models) > 1,
                filterable=False, min_width=160,
            )  # fmt: skip
            to = gr.Radio(directions_of(first), value="b", label="Direction", min_width=200)
            size = gr.Dropdown(
                sizes_of(first), value=usual_size(first), label="Shorter side", min_width=160,
                filterable=False,
            )  # fmt: skip
            strength = gr.Slider(
                0, max(SLIDER_END, first.strength), value=first.strength, step=0.1,
                label="Strength", elem_id="strength", min_width=160, visible=first.retouches,
            )  # fmt: skip
        with gr.Tab("One picture"), gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                picture = gr.Image(
                    label="Picture", sources=["upload", "clipboard", "webcam"], type="filepath",
                    elem_id="picture", visible=shows(first, "b"), buttons=[], height=340,
                )  # fmt: skip
                file = gr.File(
                    label=file_label(first, "b"), elem_id="file", visible=not shows(first, "b")
                )
                examples = gr.Gallery(
                    label="Held-out pictures, never trained on", columns=6, height="auto",
                    allow_preview=False, object_fit="cover", elem_id="examples", visible=False,
                    buttons=[], interactive=False,
                )  # fmt: skip
            with gr.Column(min_width=320):
                slider = gr.ImageSlider(
                    label="Left: before. Right: after", elem_id="slider", interactive=False,
                    buttons=["fullscreen"], max_height=420, slider_position=50,
                )  # fmt: skip
                line = gr.HTML("", elem_id="line", padding=False)
                download = gr.DownloadButton("Download the translation", interactive=False)
                back = gr.Image(
                    label="Translated back again", elem_id="back", interactive=False, height=260,
                    visible=len(first.ways) == 2, buttons=["fullscreen"],
                )  # fmt: skip
        with gr.Tab("Several pictures"):
            files = gr.File(label="Pictures", file_count="multiple", elem_id="files", height=180)
            with gr.Row():
                go = gr.Button("Translate all", variant="primary", scale=4)
                stop = gr.Button("Stop", scale=1, min_width=100)
            several_line = gr.HTML("", elem_id="several-line", padding=False)
            zip_file = gr.DownloadButton("Download them as a zip", interactive=False)
            results = gr.Gallery(
                label="Translations", columns=6, height="auto", elem_id="results", buttons=[],
                interactive=False,
            )  # fmt: skip
        gr.HTML(FOOTER, padding=False)

        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        choices = [model, to, size, strength]
        translate: dict[str, Any] = {
            "fn": events.translate, "inputs": [picture, file, *choices],
            "outputs": [slider, back, line, download], "preprocess": False,
            "trigger_mode": "always_last", "api_visibility": "private", "show_progress": "minimal",
            "show_progress_on": [slider], "concurrency_limit": None,
        }  # fmt: skip
        gr.on([one.change for one in (picture, file, to, size, strength)], **translate)
        stop.click(events.stop, **quiet)
        choose = model.change(events.choose_model, model, [to, size, strength, back], **quiet)
        choose.then(**translate)
        go.click(
            events.translate_several, [files, *choices], [results, several_line, zip_file],
            preprocess=False, api_visibility="private", show_progress_on=[results],
            concurrency_limit=None,
        )  # fmt: skip
        gr.on(
            [model.change, to.change], events.choose_direction, [model, to], [picture, file],
            **quiet,
        )  # fmt: skip
        gr.on(
            [page.load, model.change, to.change], events.show_examples, [model, to], examples,
            trigger_mode="always_last", **quiet,
        )  # fmt: skip
        examples.select(events.pick, [model, to], [picture, file], **quiet)
        page.load(js=SCRIPT, api_visibility="private")
        page.unload(events.leave)
    page.queue(max_size=actions.service.limits.waiting, api_open=False)
    return page
