"""The page: its parts, and which of its doings each of them starts. Made with Gradio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from diptych.model_file import Side, other_side
from diptych.web.limits import RefusedError
from diptych.web.models import ServedModel
from diptych.web.page_actions import Actions

SIZES = (64, 128, 256, 512, 1024)
OWN_SIZE = 0
HERE = Path(__file__).parent
CSS = (HERE / "page.css").read_text("utf-8")
NAMES = (HERE / "page.js").read_text("utf-8")
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
    models = actions.service.models
    first = next(iter(models.values()))

    page = gr.Blocks(title="diptych", analytics_enabled=False, fill_width=True)
    with page:
        gr.HTML(HEADER, padding=False)
        with gr.Row(elem_id="choices"):
            model = gr.Dropdown(
                list(models), value=first.name, label="Model", visible=len(models) > 1,
                filterable=False, min_width=160,
            )  # fmt: skip
            to = gr.Radio(_directions(first), value="b", label="Direction", min_width=200)
            size = gr.Dropdown(
                _sizes(first), value=_usual_size(first), label="Shorter side", min_width=160,
                filterable=False,
            )  # fmt: skip
        with gr.Tab("One picture"), gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                picture = gr.Image(
                    label="Picture", sources=["upload", "clipboard", "webcam"], type="filepath",
                    elem_id="picture", visible=_shows(first, "b"), buttons=[], height=340,
                )  # fmt: skip
                file = gr.File(
                    label=_wanted(first, "b"), elem_id="file", visible=not _shows(first, "b")
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
                line = gr.Markdown("", elem_id="line")
                download = gr.DownloadButton("Download the translation", interactive=False)
                back = gr.Image(
                    label="Translated back again", elem_id="back", interactive=False, height=260,
                    visible=len(first.ways) == 2, buttons=["fullscreen"],
                )  # fmt: skip
        with gr.Tab("Several pictures"):
            files = gr.File(label="Pictures", file_count="multiple", elem_id="files", height=180)
            go = gr.Button("Translate all", variant="primary")
            several_line = gr.Markdown("", elem_id="several-line")
            zip_file = gr.DownloadButton("Download them as a zip", interactive=False)
            results = gr.Gallery(
                label="Translations", columns=6, height="auto", elem_id="results", buttons=[],
                interactive=False,
            )  # fmt: skip
        gr.HTML(FOOTER, padding=False)

        async def translate(one: Any, other: Any, name: str, to: Side, size: int) -> Any:
            try:
                chosen = actions.service.model(name)
                if to not in chosen.ways:
                    to = "b"  # (the direction of the model chosen before, until it is set anew)
                given = one if _shows(chosen, to) else other
                if given is None:
                    return None, None, "", _no_download()
                shown = await actions.translate(given, name, to, size or None)
            except RefusedError as refusal:
                # (Not an error of Gradio's, which would leave the last translation standing.)
                return None, None, _warned(refusal), _no_download()
            return (
                (str(shown.before), str(shown.after)),
                None if shown.back is None else str(shown.back),
                shown.line,
                gr.DownloadButton(value=str(shown.result), interactive=True),
            )

        async def translate_several(
            given: Any,
            name: str,
            to: Side,
            size: int,
            progress: gr.Progress = gr.Progress(),  # noqa: B008  (Gradio looks for it there)
        ) -> Any:
            total = len(given or [])
            if not total:
                raise gr.Error("Drop some pictures first.", print_exception=False)
            try:
                previews, packed, line = await actions.translate_several(
                    given, name, to, size or None,
                    lambda done: progress((done, total), unit="pictures"),
                )  # fmt: skip
            except RefusedError as refusal:
                return [], _warned(refusal), _no_download()
            found = packed is not None
            return (
                [str(path) for path in previews],
                line,
                gr.DownloadButton(value=str(packed) if found else None, interactive=found),
            )

        async def show_examples(name: str, to: Side) -> Any:
            thumbnails = [str(small) for _, small in await actions.examples(name, to)]
            return gr.Gallery(value=thumbnails, visible=bool(thumbnails), selected_index=None)

        async def pick(name: str, to: Side, event: gr.SelectData) -> Any:
            found = await actions.examples(name, to)
            path, _ = found[int(event.index) % len(found)]
            try:
                content = path.read_bytes()
                actions.folder.make_room(len(content))
                copy = str(actions.folder.write(path.name, content))
            except OSError:
                raise gr.Error("This picture is there no more.", print_exception=False) from None
            except RefusedError as refusal:
                raise gr.Error(_sentence(refusal), print_exception=False) from None
            return (copy, None) if _shows(models[name], to) else (None, copy)

        def choose_model(name: str) -> Any:
            chosen = models[name]
            return (
                gr.Radio(_directions(chosen), value="b"),
                gr.Dropdown(_sizes(chosen), value=_usual_size(chosen)),
                gr.Image(visible=len(chosen.ways) == 2),
            )

        def choose_direction(name: str, to: Side) -> Any:
            shows = _shows(models[name], to)
            return (
                gr.Image(visible=shows),
                gr.File(visible=not shows, label=_wanted(models[name], to)),
            )

        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        choices = [model, to, size]
        gr.on(
            [picture.change, file.change, model.change, to.change, size.change], translate,
            [picture, file, *choices], [slider, back, line, download], preprocess=False,
            trigger_mode="always_last", api_visibility="private", show_progress="minimal",
            show_progress_on=[slider],
            concurrency_limit=None,
        )  # fmt: skip
        go.click(
            translate_several, [files, *choices], [results, several_line, zip_file],
            preprocess=False, api_visibility="private", show_progress_on=[results],
        )  # fmt: skip
        model.change(choose_model, model, [to, size, back], **quiet)
        gr.on([model.change, to.change], choose_direction, [model, to], [picture, file], **quiet)
        gr.on(
            [page.load, model.change, to.change], show_examples, [model, to], examples,
            trigger_mode="always_last", **quiet,
        )  # fmt: skip
        examples.select(pick, [model, to], [picture, file], **quiet)
        page.load(js=NAMES, api_visibility="private")
    page.queue(max_size=actions.service.limits.waiting, api_open=False)
    return page


def _directions(model: ServedModel) -> list[tuple[str, str]]:
    return [(f"{model.domains[other_side(to)]} → {model.domains[to]}", to) for to in model.ways]


def _usual_size(model: ServedModel) -> int:
    """What most will want: the picture's own size, where the network sees it from afar."""
    return OWN_SIZE if model.translator.sees is not None else model.translator.info.size


def _sizes(model: ServedModel) -> list[tuple[str, int]]:
    own = model.translator.info.size
    sizes = [(f"{own} pixels, as trained", own)]
    sizes += [(f"{size} pixels", size) for size in SIZES if size > own]
    return [*sizes, ("as it is", OWN_SIZE)]


def _shows(model: ServedModel, to: Side) -> bool:
    """Whether browsers can show pictures of the source domain."""
    own, _ = model.translator.formats(to)
    return own.is_image


def _wanted(model: ServedModel, to: Side) -> str:
    own, _ = model.translator.formats(to)
    return f"Picture: {own.describe()}, as TIFF, PNG or .npy"


def _sentence(refusal: RefusedError) -> str:
    text = str(refusal)
    return f"{text[:1].upper()}{text[1:]}."


def _warned(refusal: RefusedError) -> str:
    """Show the sentence for a moment, and return it, to stay on the page."""
    line = _sentence(refusal)
    gr.Warning(line)
    return line


def _no_download() -> gr.DownloadButton:
    return gr.DownloadButton(value=None, interactive=False)
