"""What happens when someone uses the page."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.data.opening import DamagedPictureError
from diptych.data.pixels import PixelFormat, Pixels, from_pil, preview
from diptych.sides import Side, other_side
from diptych.translation.png import write_png
from diptych.translation.writing import default_format
from diptych.web.limits import RefusedError
from diptych.web.models import ServedModel
from diptych.web.page_folder import MOST_BYTES, PageFolder
from diptych.web.service import Answer, Service
from diptych.words import counted

MOST_AT_ONCE = 200  # pictures for one zip
MOST_PACKED = MOST_BYTES // 2  # bytes of its pictures
THUMBNAIL = 160  # pixels
SHOWN = 1600  # pixels of the longer side, as browsers are shown a picture; the result is whole
TILE = 320  # the same of one among many
IN_A_ZIP = 1000  # bytes that a file takes there besides its own
MOST_EXAMPLES = 12
MOST_OF_A_NAME = 200  # bytes: disks take 255, with an ending
PATIENCE = 20  # times that one of several pictures waits for room


@dataclass(frozen=True)
class Shown:
    """One translation on the page: files of the page folder, and a line about it."""

    before: Path
    after: Path
    back: Path | None
    result: Path  # in the model's own depth
    line: str


class Actions:
    """The page's doings, for one server."""

    def __init__(self, service: Service, folder: PageFolder) -> None:
        self.service = service
        self.folder = folder
        self._thumbnails: dict[tuple[str, Side], list[tuple[Path, Path]]] = {}

    async def translate(
        self, file: Any, name: str, to: Side, size: int | None, strength: float | None
    ) -> Shown:
        """Translate an upload, as Gradio describes it, there and back. Raises RefusedError."""
        started = time.perf_counter()
        model = self.service.model(name)
        data = self.folder.read(file["path"])
        own_strength = strength_of(model, strength)
        answer = await self.service.translate(data, model, to, size, own_strength, back=True)
        made = answer.made
        took = time.perf_counter() - started
        own, other = model.translator.formats(to)
        height, width = made.picture.shape[:2]
        line = f"{width} × {height} pixels in {took:.2f} s"
        if made.rec is not None:
            error = await asyncio.to_thread(own.l1, made.rec, made.picture)
            line += f"; back again it is {error / 2:.1%} off"
        ending = default_format(other)
        result = await self.service.encode(made.fake, ending, answer.extras)
        self.folder.make_room(len(result))
        return Shown(
            await self._picture("before.png", made.picture, own),
            await self._picture("after.png", made.fake, other),
            None if made.rec is None else await self._picture("back.png", made.rec, own),
            self.folder.write(f"{stem_of(file)}-to-{to}.{ending}", result),
            line,
        )

    async def translate_several(
        self,
        files: Sequence[Any],
        name: str,
        to: Side,
        size: int | None,
        strength: float | None,
        on_done: Callable[[int], None],
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[list[Path], Path | None, str]:
        """Previews, a zip of the translations, a line about it. Raises RefusedError.

        When ``stop()`` is true no more are begun, and those that there are are handed over.
        """
        if len(files) > MOST_AT_ONCE:
            raise RefusedError(413, f"{len(files)} pictures are too many: at most {MOST_AT_ONCE}")
        started = time.perf_counter()
        model = self.service.model(name)
        _, other = model.translator.formats(to)
        ending = default_format(other)
        together = asyncio.Semaphore(self.service.limits.batch)
        done, room = 0, MOST_PACKED
        zip_room = ExitStack()  # (so that there is some for what has been translated)

        async def one(file: Any) -> tuple[bytes, bytes] | str | None:
            nonlocal done, room
            async with together:
                if stop():
                    return None
                try:
                    data = self.folder.read(file["path"])
                    answer = await self._patiently(data, model, to, size, strength)
                    fake = answer.made.fake
                    result = await self.service.encode(fake, ending, answer.extras)
                    if len(result) > room:
                        return f"{name_of(file)}: the zip is full, choose a smaller size"
                    zip_room.enter_context(self.folder.room_for(len(result) + IN_A_ZIP))
                    room -= len(result)
                    return result, await asyncio.to_thread(preview_png, fake, other, TILE)
                except RefusedError as refusal:
                    return f"{name_of(file)}: {refusal}"
                finally:
                    done += 1
                    on_done(done)

        with zip_room, self.folder.kept(file["path"] for file in files):
            outcomes = await asyncio.gather(*(one(file) for file in files))
            problems: list[str] = []
            contents: dict[str, bytes] = {}
            tiles: list[bytes] = []
            for file, outcome in zip(files, outcomes, strict=True):
                if outcome is None:
                    continue
                if isinstance(outcome, str):
                    problems.append(outcome)
                    continue
                inside = free_name(f"{stem_of(file)}-to-{to}.{ending}", contents)
                contents[inside] = outcome[0]
                tiles.append(outcome[1])
            line = f"{counted(len(contents), 'picture')} in {time.perf_counter() - started:.1f} s"
            if left := outcomes.count(None):
                line += f"; stopped, with {left} to go"
            if problems:
                line += f"; {len(problems)} left out. " + ". ".join(problems[:5])
            if not contents:
                return [], None, line
            packed = await asyncio.to_thread(pack, contents)
            zip_room.close()
            self.folder.make_room(len(packed))
            whole = self.folder.write(f"{shortened(model.name)}-to-{to}.zip", packed)
            return self._small_views(tiles), whole, line

    async def _patiently(
        self, data: bytes, model: ServedModel, to: Side, size: int | None, strength: float | None
    ) -> Answer:
        """As one of several: waits while others fill the line."""
        for _ in range(PATIENCE):
            try:
                return await self.service.translate(
                    data, model, to, size, strength_of(model, strength)
                )
            except RefusedError as refusal:
                if refusal.status != 429:
                    raise
                await asyncio.sleep(refusal.retry_after or 1)
        raise self.service.busy()

    async def examples(self, name: str, to: Side) -> list[tuple[Path, Path]]:
        """Held-out pictures of the source domain: their files, and thumbnails."""
        model = self.service.model(name)
        key = (model.name, to)
        if key not in self._thumbnails:
            self._thumbnails[key] = await asyncio.to_thread(self._make_thumbnails, model, to)
        return self._thumbnails[key]

    def _make_thumbnails(self, model: ServedModel, to: Side) -> list[tuple[Path, Path]]:
        own, _ = model.translator.formats(to)
        made: list[tuple[Path, Path]] = []
        for path in model.heldout.get(other_side(to), []):
            if len(made) == MOST_EXAMPLES:
                break
            try:
                content = preview_png(model.translator.read(path, to), own, THUMBNAIL)
            except DamagedPictureError:
                continue  # it was moved, perhaps
            made.append((path, self.folder.keep(f"{path.stem}.png", content)))
        return made

    def _small_views(self, tiles: Sequence[bytes]) -> list[Path]:
        """Their files; none where there is no room for them."""
        try:
            self.folder.make_room(sum(map(len, tiles)))
        except RefusedError:
            return []
        return [self.folder.write("after.png", tile) for tile in tiles]

    async def _picture(self, name: str, picture: Pixels, pixel_format: PixelFormat) -> Path:
        content = await asyncio.to_thread(preview_png, picture, pixel_format, SHOWN)
        self.folder.make_room(len(content))
        return self.folder.write(name, content)


def strength_of(model: ServedModel, slider: float | None) -> float | None:
    """What the page's slider says, to models that have one."""
    return slider if model.retouches else None


def preview_png(picture: Pixels, pixel_format: PixelFormat, most: int) -> bytes:
    """A picture to look at, at most ``most`` pixels a side: a PNG file."""
    image = preview(picture, pixel_format)
    image.thumbnail((most, most))
    file = io.BytesIO()
    write_png(file, from_pil(image))
    return file.getvalue()


def pack(contents: dict[str, bytes]) -> bytes:
    """A zip of files by their names."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return packed.getvalue()


def name_of(file: Any) -> str:
    """What the client calls an upload."""
    return Path(str(file.get("orig_name") or file["path"])).name


def stem_of(file: Any) -> str:
    """The name without its ending, made of plain letters, for a file to take away."""
    kept = [c if c.isalnum() or c in "-_. " else "-" for c in Path(name_of(file)).stem]
    return shortened("".join(kept).strip(". ")[:80]).strip(". ") or "picture"


def shortened(name: str) -> str:
    """As much of a name as a disk takes with an ending."""
    return name.encode("utf-8", "replace")[:MOST_OF_A_NAME].decode(errors="ignore")


def free_name(name: str, taken: dict[str, bytes]) -> str:
    """``name``, or one like it that is not taken, whatever a disk thinks of large letters."""
    path, number, known = Path(name), 2, {one.casefold() for one in taken}
    while name.casefold() in known:
        name, number = f"{path.stem}-{number}{path.suffix}", number + 1
    return name
