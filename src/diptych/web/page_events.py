"""What each part of the page starts, and how it shows what came of it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from html import escape
from typing import Any

import gradio as gr
from pydantic import ValidationError

from diptych.sides import Side, other_side
from diptych.web.api import Options
from diptych.web.limits import RefusedError
from diptych.web.models import ServedModel
from diptych.web.page_actions import Actions, Shown, strength_of
from diptych.web.problems import one_sentence

SIZES = (64, 128, 256, 512, 1024)
OWN_SIZE = 0
MOST_SESSIONS = 1000  # that are remembered


@dataclass
class Session:
    """A page that is open: what it asked for last, and what came of it."""

    asked: tuple[Any, ...] = ()
    shown: Shown | None = None
    refusal: RefusedError | None = None
    warned: RefusedError | None = None  # of what the page has shown a warning
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    several: asyncio.Task[Any] | None = None  # translating several pictures
    stopped: bool = False  # that, by its button


class Events:
    """One method for each kind of event; what it returns goes to the parts named beside it."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions
        self.models = actions.service.models
        self.sessions: OrderedDict[str, Session] = OrderedDict()

    async def translate(
        self, one: Any, other: Any, name: str, to: Side, size: int, strength: float,
        request: gr.Request,
    ) -> Any:  # fmt: skip
        """The slider, the way back, a line, and the download; nothing of them without a picture.

        A change of one part of the page may be heard of several times: it is answered alike.
        """
        session = self._session(request)
        try:
            model, chosen = self._chosen(name, to, size, strength)
            # (It may still be the direction of the model chosen before.)
            way = chosen.to if chosen.to in model.ways else "b"
            given = one if shows(model, way) else other
            if given is None:
                return None, None, "", _no_download()
            strong = strength_of(model, chosen.strength)
            asked = (_path(given), model.name, way, chosen.size, strong)
            shown = await self._shown(session, given, asked)
        except RefusedError as refusal:
            # (Not an error of Gradio's, which would leave the last translation standing.)
            line = escape(_sentence(refusal))
            if refusal is not session.warned:
                gr.Warning(line)
            session.warned = refusal
            return None, None, line, _no_download()
        return (
            (str(shown.before), str(shown.after)),
            None if shown.back is None else str(shown.back),
            escape(shown.line),
            gr.DownloadButton(value=str(shown.result), interactive=True),
        )

    async def translate_several(
        self,
        given: Any,
        name: str,
        to: Side,
        size: int,
        strength: float,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (Gradio looks for it there)
    ) -> Any:
        """Previews, a line, and the zip. It is given up when the page is closed."""
        total = len(given or [])
        if not total:
            raise gr.Error("Drop some pictures first.", print_exception=False)
        session = self._session(request)
        try:
            model, chosen = self._chosen(name, to, size, strength)
            for file in given:
                _path(file)
            session.stopped = False
            session.several = asyncio.ensure_future(
                self.actions.translate_several(
                    given, model.name, chosen.to, chosen.size, chosen.strength,
                    lambda done: progress((done, total), unit="pictures"),
                    lambda: session.stopped,
                )
            )  # fmt: skip
            previews, packed, line = await session.several
        except RefusedError as refusal:
            line = escape(_sentence(refusal))
            gr.Warning(line)
            return [], line, _no_download()
        except asyncio.CancelledError:  # (the page was closed, or the server ends)
            return [], "Stopped: the server is ending.", _no_download()
        found = packed is not None
        return (
            [str(path) for path in previews],
            escape(line),
            gr.DownloadButton(value=str(packed) if found else None, interactive=found),
        )

    async def stop(self, request: gr.Request) -> None:
        """Begin no more of several pictures."""
        self._session(request).stopped = True

    async def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        session = self.sessions.pop(str(request.session_hash), None)
        if session is not None and session.several is not None:
            session.several.cancel()

    def _session(self, request: gr.Request) -> Session:
        name = str(request.session_hash)
        session = self.sessions.setdefault(name, Session())
        self.sessions.move_to_end(name)
        if len(self.sessions) > MOST_SESSIONS:
            self.sessions.popitem(last=False)
        return session

    def _chosen(self, name: Any, to: Any, size: Any, strength: Any) -> tuple[ServedModel, Options]:
        """The model and the options. Raises RefusedError for what the page does not offer."""
        given = {"model": name, "to": to, "size": size or None, "strength": strength}
        try:
            options = Options.model_validate(given)
        except ValidationError as error:
            raise RefusedError(422, one_sentence(error, list(Options.model_fields))) from error
        return self.actions.service.model(options.model), options

    async def _shown(self, session: Session, given: Any, asked: tuple[Any, ...]) -> Shown:
        """The translation that is asked for, of ``given``; the last one, if it is the same.

        Raises RefusedError, the same one for the same.
        """
        async with session.turn:
            again, shown = asked == session.asked, session.shown
            if again and session.refusal is not None:
                raise session.refusal
            if again and shown is not None and self.actions.folder.holds(str(shown.result)):
                return shown
            session.asked, session.shown, session.refusal = asked, None, None
            try:
                shown = session.shown = await self.actions.translate(given, *asked[1:])
            except RefusedError as refusal:
                session.refusal = refusal if refusal.retry_after is None else None
                raise
            return shown

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


def _path(given: Any) -> str:
    """Of an upload, as Gradio describes it. Raises RefusedError for what is none."""
    path = given.get("path") if isinstance(given, dict) else None
    if not isinstance(path, str):
        raise RefusedError(422, "there is no picture: upload one")
    return path


def _sentence(refusal: RefusedError) -> str:
    text = str(refusal)
    return f"{text[:1].upper()}{text[1:]}."


def _no_download() -> gr.DownloadButton:
    return gr.DownloadButton(value=None, interactive=False)
