"""What each part of the page starts, and how it shows what came of it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from diptych.model_file import Side, other_side
from diptych.web.limits import RefusedError
from diptych.web.models import ServedModel
from diptych.web.page_actions import Actions

SIZES = (64, 128, 256, 512, 1024)
OWN_SIZE = 0


class Events:
    """One method for each kind of event; what it returns goes to the parts named beside it."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions
        self.models = actions.service.models

    async def translate(
        self, one: Any, other: Any, name: str, to: Side, size: int, strength: float
    ) -> Any:
        """The slider, the way back, a line, and the download; nothing of them without a picture."""
        try:
            chosen = self.actions.service.model(name)
            if to not in chosen.ways:
                to = "b"  # (the direction of the model chosen before, until it is set anew)
            given = one if shows(chosen, to) else other
            if given is None:
                return None, None, "", _no_download()
            shown = await self.actions.translate(given, name, to, size or None, strength)
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
        self,
        given: Any,
        name: str,
        to: Side,
        size: int,
        strength: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (Gradio looks for it there)
    ) -> Any:
        """Previews, a line, and the zip."""
        total = len(given or [])
        if not total:
            raise gr.Error("Drop some pictures first.", print_exception=False)
        try:
            previews, packed, line = await self.actions.translate_several(
                given, name, to, size or None, strength,
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

    async def show_examples(self, name: str, to: Side) -> Any:
        """Held-out pictures, where there are any."""
        thumbnails = [str(small) for _, small in await self.actions.examples(name, to)]
        return gr.Gallery(value=thumbnails, visible=bool(thumbnails), selected_index=None)

    async def pick(self, name: str, to: Side, event: gr.SelectData) -> Any:
        """A copy of the held-out picture that was clicked, for the place of an upload."""
        found = await self.actions.examples(name, to)
        path, _ = found[int(event.index) % len(found)]
        try:
            content = path.read_bytes()
            self.actions.folder.make_room(len(content))
            copy = str(self.actions.folder.write(path.name, content))
        except OSError:
            raise gr.Error("This picture is there no more.", print_exception=False) from None
        except RefusedError as refusal:
            raise gr.Error(_sentence(refusal), print_exception=False) from None
        return (copy, None) if shows(self.models[name], to) else (None, copy)

    def choose_model(self, name: str) -> Any:
        """What can be chosen of the model, and room for the way back if it has one."""
        chosen = self.models[name]
        return (
            gr.Radio(directions_of(chosen), value="b"),
            gr.Dropdown(sizes_of(chosen), value=usual_size(chosen)),
            gr.Slider(value=chosen.strength, visible=chosen.retouches),
            gr.Image(visible=len(chosen.ways) == 2),
        )

    def choose_direction(self, name: str, to: Side) -> Any:
        """Where to drop what the model translates."""
        visible = shows(self.models[name], to)
        return (
            gr.Image(visible=visible),
            gr.File(visible=not visible, label=file_label(self.models[name], to)),
        )


def directions_of(model: ServedModel) -> list[tuple[str, str]]:
    """What can be chosen: ``horse → zebra``, and the domain translated to."""
    return [(f"{model.domains[other_side(to)]} → {model.domains[to]}", to) for to in model.ways]


def usual_size(model: ServedModel) -> int:
    """What most will want: the picture's own size, where the network sees it from afar."""
    return OWN_SIZE if model.translator.sees is not None else model.translator.info.size


def sizes_of(model: ServedModel) -> list[tuple[str, int]]:
    """What can be chosen, in words and pixels of the shorter side."""
    own = model.translator.info.size
    sizes = [(f"{own} pixels, as trained", own)]
    sizes += [(f"{size} pixels", size) for size in SIZES if size > own]
    return [*sizes, ("as it is", OWN_SIZE)]


def shows(model: ServedModel, to: Side) -> bool:
    """Whether browsers can show pictures of the source domain."""
    own, _ = model.translator.formats(to)
    return own.is_image


def file_label(model: ServedModel, to: Side) -> str:
    """Which files to drop, where browsers cannot show them."""
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
