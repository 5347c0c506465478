"""The page of ``diptych ui`` in a real browser, which can reach nothing but the server."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image

pytest.importorskip("gradio", reason="the extra [web] is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

from corpus import heic
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from web import Server, running, served_file, wait_until

import diptych as package

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
DOWNLOAD = "Download the translation"
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no Chromium here")


class Browser:
    """A window on the page."""

    def __init__(self, server: Server, downloads: Path) -> None:
        options = webdriver.ChromeOptions()
        for option in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        ):  # fmt: skip
            options.add_argument(option)
        options.binary_location = CHROMIUM
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.server = server
        self.downloads = downloads
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        self.driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
        )

    def open(self, width: int = 1200, height: int = 1200, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(self.server.address)
        wait_until(lambda: self.all("#examples img"))

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Of what is displayed, at one moment."""
        found: list[str] = self.driver.execute_script(
            """
            return [...document.querySelectorAll(arguments[0])]
              .filter((one) => one.checkVisibility()).map((one) => one.innerText);
            """,
            selector,
        )
        return found

    def click(self, text: str, selector: str = "button") -> None:
        (button,) = [one for one in self.all(selector) if one.text == text and one.is_displayed()]
        button.click()

    def choose(self, label: str, value: str) -> None:
        self.one(f"input[aria-label='{label}']").click()
        wait_until(lambda: self.all("[role=option]"))
        self.click(value, "[role=option]")

    def line(self) -> str:
        return self.one("#line").text

    def translated(self, act: object) -> str:
        """Do something, and wait for another picture to be shown; the line beneath it."""
        before = self.sources("#slider img")
        act()  # type: ignore[operator]
        wait_until(lambda: self.sources("#slider img") not in ([], before))
        return self.line()

    def sources(self, selector: str) -> list[str]:
        return [one.get_attribute("src") or "" for one in self.all(selector)]

    def picture(self, address: str) -> Image.Image:
        return Image.open(io.BytesIO(httpx.get(address).content))

    def changed(self) -> bool | None:
        """Whether the pictures before and after differ; None while one is of another size."""
        before, after = map(self.picture, self.sources("#slider img")[:2])
        return before.tobytes() != after.tobytes() if before.size == after.size else None

    def drop(self, selector: str, path: Path, kind: str = "image/png") -> None:
        """As a mouse would that carries a file from elsewhere."""
        self.driver.execute_script(
            """
            const bytes = Uint8Array.from(atob(arguments[1]), (c) => c.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], arguments[2], { type: arguments[3] }));
            document.querySelector(arguments[0])
              .dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
            """,
            selector, base64.b64encode(path.read_bytes()).decode(), path.name, kind,
        )  # fmt: skip

    def paste(self, path: Path) -> None:
        """From the clipboard."""
        origin = {"origin": self.server.address, "permissions": ["clipboardReadWrite"]}
        self.driver.execute_cdp_cmd("Browser.grantPermissions", origin)
        self.driver.execute_async_script(
            """
            const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
            const picture = new Blob([bytes], { type: "image/png" });
            navigator.clipboard.write([new ClipboardItem({ "image/png": picture })])
              .then(arguments[1], arguments[1]);
            """,
            base64.b64encode(path.read_bytes()).decode(),
        )
        self.one("#picture button[aria-label='Paste from clipboard']").click()

    def choose_files(self, selector: str, paths: list[Path]) -> None:
        self.one(f"{selector} input[type=file]").send_keys("\n".join(map(str, paths)))

    def download(self, button: str, name: str) -> Path:
        wait_until(
            lambda: [one for one in self.all("button") if one.text == button and one.is_enabled()]
        )
        self.click(button)
        wait_until((self.downloads / name).exists)
        return self.downloads / name

    def screenshot(self) -> np.ndarray:
        with Image.open(io.BytesIO(self.driver.get_screenshot_as_png())) as shot:
            return np.asarray(shot.convert("RGB"))

    def addresses(self) -> set[str]:
        """All that was asked for over the network so far."""
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(message["params"]["request"]["url"])
        return found


@pytest.fixture(scope="module")
def browser(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    window = Browser(served, tmp_path_factory.mktemp("downloads"))
    yield window
    window.driver.quit()


def assert_alike(one: Image.Image, other: Image.Image) -> None:
    assert one.size == other.size
    difference = np.asarray(one.convert("RGB"), np.int16) - np.asarray(other, np.int16)
    assert np.abs(difference).max() <= 1


def test_a_dropped_picture_is_translated_there_and_back(
    browser: Browser, trained: Path, towns: Path
) -> None:
    browser.open()
    translator = package.load(trained, "cpu")
    town = sorted((towns / "testA").iterdir())[0]
    line = browser.translated(lambda: browser.drop("#picture button[aria-dropeffect]", town))
    assert line.startswith("32 × 32 pixels in ")
    before, after = map(browser.picture, sorted(browser.sources("#slider img")[:2], key=is_after))
    with Image.open(town) as image:
        assert_alike(before, image.convert("RGB"))
    assert_alike(after, translator.to_b(town))
    back = browser.picture(browser.sources("#back img")[0])
    difference = np.asarray(back, float) - np.asarray(before, float)
    assert f"back again it is {np.abs(difference).mean() / 255:.1%} off" in line
    with Image.open(browser.download(DOWNLOAD, "town-0020-to-b.png")) as result:
        assert_alike(result, translator.to_b(town))
    assert len(np.unique(browser.screenshot().reshape(-1, 3), axis=0)) > 2000

    line = browser.translated(lambda: browser.choose("Shorter side", "64 pixels"))
    assert line.startswith("64 × 64 pixels in ")


def translations(server: Server) -> int:
    """How many pictures a server has translated."""
    counts = re.findall(r"^diptych_pictures_total{.*} (\d+)", server.ask("/metrics").text, re.M)
    return sum(map(int, counts))


def large_pictures(folder: Path) -> list[Path]:
    """Forty that take a while."""
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    paths = [folder / f"{i}.jpg" for i in range(40)]
    for i, path in enumerate(paths):
        Image.fromarray(np.roll(noise, i, 0)).save(path)
    return paths


def is_after(address: str) -> bool:
    return address.endswith("after.png")


def test_examples_directions_and_models(browser: Browser, towns: Path) -> None:
    browser.open()
    assert len(browser.all("#examples img")) == 4
    browser.translated(lambda: browser.all("#examples button.thumbnail-item")[1].click())
    there = browser.sources("#examples img")
    browser.translated(lambda: browser.click("B → A", "label"))
    wait_until(lambda: browser.sources("#examples img") not in ([], there))
    browser.translated(lambda: browser.choose("Model", "one-way"))
    wait_until(lambda: browser.texts("fieldset label") == ["A → B"])
    wait_until(lambda: browser.texts("#back, #examples") == [])  # (a file has none)
    assert "cycle" not in browser.line()
    assert browser.texts("[data-testid=toast-text]") == []  # (its way back was never asked for)


def test_every_choice_is_translated_once(
    browser: Browser, served: Server, towns: Path, tmp_path: Path
) -> None:
    """Gradio tells of one change several times, and of a new model's usual choices too."""
    browser.open()

    def made_by(act: object) -> int:
        before = translations(served)
        browser.translated(act)
        time.sleep(1)  # (for others to come)
        return translations(served) - before

    first, second = sorted((towns / "testA").iterdir())[:2]
    assert made_by(lambda: browser.drop("#picture button[aria-dropeffect]", first)) == 1
    assert made_by(lambda: browser.choose_files("#picture", [second])) == 1
    assert made_by(lambda: browser.all("#examples button.thumbnail-item")[1].click()) == 1
    assert made_by(lambda: browser.click("B → A", "label")) == 1
    assert made_by(lambda: browser.choose("Model", "retouch")) == 1


def test_names_are_no_html(browser: Browser, tmp_path: Path) -> None:
    name = "_b_<img src=x onerror=alert(1)>*.png"
    (tmp_path / name).write_bytes(b"no picture")
    browser.open()
    browser.click("Several pictures")
    browser.choose_files("#files", [tmp_path / name])
    wait_until(lambda: len(browser.all("#files tr")) == 1)
    browser.click("Translate all")
    wait_until(lambda: any(name in text for text in browser.texts("#several-line")))
    assert browser.all("#several-line img") == []


def test_a_phones_pictures(browser: Browser, trained: Path, towns: Path, tmp_path: Path) -> None:
    """Which Chromium does not know, dropped or chosen."""
    towns_to_see = sorted((towns / "testA").iterdir())[:2]
    phones = [tmp_path / name for name in ("IMG_1.HEIC", "IMG_2.heif")]
    for town, path in zip(towns_to_see, phones, strict=True):
        path.write_bytes(heic(Image.open(town).convert("RGB"), quality=95))
    browser.open()
    browser.translated(lambda: browser.drop("#picture button[aria-dropeffect]", phones[1], ""))
    browser.translated(lambda: browser.choose_files("#picture", [phones[0]]))
    (after,) = [one for one in browser.sources("#slider img") if is_after(one)]
    assert_alike(browser.picture(after), package.load(trained, "cpu").to_b(phones[0]))
    assert browser.texts("[data-testid=toast-text]") == []


def test_what_a_closed_page_asked_for_is_given_up(trained: Path, tmp_path: Path) -> None:
    """And others need not wait for it while it is open."""
    pictures = large_pictures(tmp_path)
    with running(tmp_path / "notes", [trained]) as server:
        window = Browser(server, tmp_path)
        try:
            window.driver.get(server.address)
            wait_until(lambda: window.all("#examples img"))
            window.choose("Shorter side", "as it is")
            window.click("Several pictures")
            window.choose_files("#files", pictures)
            wait_until(lambda: len(window.all("#files tr")) == 40)
            window.click("Translate all")
            wait_until(lambda: server.ask("/healthz").json()["waiting"] > 0)
        finally:
            window.driver.quit()
        wait_until(lambda: server.ask("/healthz").json()["waiting"] == 0)
        assert translations(server) < 30


def test_what_was_translated_by_then_is_handed_over(
    browser: Browser, served: Server, tmp_path: Path
) -> None:
    pictures = large_pictures(tmp_path)
    browser.open()
    browser.choose("Shorter side", "as it is")
    browser.click("Several pictures")
    browser.choose_files("#files", pictures)
    wait_until(lambda: len(browser.all("#files tr")) == 40)
    before = translations(served)
    browser.click("Translate all")
    wait_until(lambda: translations(served) > before)
    browser.click("Stop")
    wait_until(lambda: any("stopped, with" in text for text in browser.texts("#several-line")))
    found = re.match(
        r"(\d+) pictures? in .*; stopped, with (\d+) to go", browser.one("#several-line").text
    )
    assert found is not None
    made, left = map(int, found.groups())
    assert made + left == 40
    assert 0 < made < 40
    wait_until(lambda: len(browser.all("#results img")) == made)


def test_the_keyboard_sees_where_it_is(browser: Browser) -> None:
    browser.open()
    browser.one("#choices input[type=radio]").send_keys(Keys.ARROW_RIGHT)
    outlines = browser.driver.execute_script(
        "return [...document.querySelectorAll('#choices label')]"
        ".map((one) => getComputedStyle(one).outlineStyle)"
    )
    assert outlines.count("solid") == 1


def test_a_slider_makes_changes_weaker(browser: Browser, towns: Path) -> None:
    browser.open()
    town = sorted((towns / "testA").iterdir())[0]
    browser.translated(lambda: browser.drop("#picture button[aria-dropeffect]", town))
    assert browser.texts("#strength") == []  # (what paints anew has none)
    browser.translated(lambda: browser.choose("Model", "retouch"))
    wait_until(lambda: browser.changed() is True)
    number = browser.one("#strength input[type=number]")
    number.send_keys(Keys.CONTROL, "a", Keys.NULL, "0", Keys.TAB)
    wait_until(lambda: browser.changed() is False)


def test_deep_pictures_come_as_files(browser: Browser, served: Server, tmp_path: Path) -> None:
    deep = np.arange(40 * 40, dtype=np.uint16).reshape(40, 40, 1) * 2
    np.save(tmp_path / "deep.npy", deep)
    browser.open()
    browser.choose("Model", "deep")
    wait_until(lambda: any(one.is_displayed() for one in browser.all("#file")))
    assert not any(one.is_displayed() for one in browser.all("#picture"))
    assert "1 channel, uint16, 0 to 4095" in browser.one("#file").text
    line = browser.translated(lambda: browser.choose_files("#file", [tmp_path / "deep.npy"]))
    assert line.startswith("32 × 32 pixels in ")
    made = tifffile.imread(browser.download(DOWNLOAD, "deep-to-b.tif"))
    expected = package.load(served_file(served, "deep")).to_b(deep, size=32)
    np.testing.assert_allclose(made, expected[..., 0], atol=1e-4)


def test_pictures_have_names_for_those_who_do_not_see_them(browser: Browser) -> None:
    browser.open()
    browser.translated(lambda: browser.all("#examples button.thumbnail-item")[1].click())
    wait_until(lambda: all(image.get_attribute("alt") for image in browser.all("#slider img")))
    assert [image.get_attribute("alt") for image in browser.all("#slider img")] == [
        "before", "after"
    ]  # fmt: skip
    assert browser.one("#line").get_attribute("aria-live") == "polite"


def test_a_refusal_is_shown(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    browser.open()
    browser.choose_files("#picture", [tmp_path / "broken.png"])
    wait_until(lambda: any(one.text for one in browser.all("[data-testid=toast-text]")))
    (toast,) = browser.all("[data-testid=toast-text]")
    assert toast.text == "Cannot read the picture: not a picture, or of an unknown format."


def test_a_refusal_leaves_no_earlier_translation(browser: Browser, tmp_path: Path) -> None:
    """It would be of another picture, model or size than the page says."""
    Image.new("RGB", (4000, 1000)).save(tmp_path / "wide.png")
    browser.open()
    browser.translated(lambda: browser.choose_files("#picture", [tmp_path / "wide.png"]))
    browser.choose("Shorter side", "as it is")
    wait_until(lambda: "pixels are too many for the network" in browser.line())
    wait_until(lambda: browser.sources("#slider img, #back img") == [])
    assert not any(one.is_enabled() for one in browser.all("button") if one.text == DOWNLOAD)


def test_several_pictures_come_as_a_zip(
    browser: Browser, trained: Path, towns: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    paths = sorted((towns / "testA").iterdir())
    browser.open()
    browser.click("Several pictures")
    browser.choose_files("#files", [*paths, tmp_path / "notes.txt"])
    wait_until(lambda: len(browser.all("#files tr")) == 5)
    browser.click("Translate all")
    wait_until(lambda: any("pictures in" in text for text in browser.texts("#several-line")))
    line = browser.one("#several-line").text
    assert line.startswith("4 pictures in")
    assert "1 left out. notes.txt: cannot read the picture" in line
    wait_until(lambda: len(browser.all("#results img")) == 4)
    translator = package.load(trained, "cpu")
    with zipfile.ZipFile(browser.download("Download them as a zip", "tiny-to-b.zip")) as archive:
        assert sorted(archive.namelist()) == [f"{path.stem}-to-b.png" for path in paths]
        for path in paths:
            with archive.open(f"{path.stem}-to-b.png") as file:
                assert_alike(Image.open(file), translator.to_b(path))


def test_a_picture_can_be_pasted(browser: Browser, trained: Path, towns: Path) -> None:
    browser.open()
    town = sorted((towns / "testA").iterdir())[1]
    browser.translated(lambda: browser.paste(town))
    (after,) = [one for one in browser.sources("#slider img") if is_after(one)]
    assert_alike(browser.picture(after), package.load(trained, "cpu").to_b(town))


def test_a_photograph_can_be_taken(browser: Browser) -> None:
    """(Chromium's own test picture instead of a camera.)"""
    browser.open()
    browser.one("#picture button[aria-label='Capture from camera']").click()
    wait_until(lambda: browser.all("#picture [title='grant webcam access'] button"))
    browser.one("#picture [title='grant webcam access'] button").click()
    wait_until(lambda: browser.all("#picture button[aria-label='capture photo']"))
    time.sleep(1)
    line = browser.translated(
        lambda: browser.one("#picture button[aria-label='capture photo']").click()
    )
    assert "pixels in" in line


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_fits_its_window(browser: Browser, width: int, dark: bool) -> None:
    browser.open(width, 1000, dark)
    browser.translated(lambda: browser.all("#examples button.thumbnail-item")[0].click())
    wide = browser.driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    corner = browser.screenshot()[-3:, :3].mean()
    assert corner < 60 if dark else corner > 220


def test_nobody_else_is_asked(browser: Browser, served: Server) -> None:
    """Neither by the browser nor by the server; and files stay in the page's own folder."""
    browser.open()
    for address in browser.addresses():
        assert address.startswith((served.address, "data:", "blob:")), address
    said = [entry["message"] for entry in browser.driver.get_log("browser")]
    assert [one for one in said if "Failed to load" in one or "Security Policy" in one] == []
    for address in served.noted("connect"):
        assert "127.0.0.1" in address or address in ("localhost", "::1"), address
    outside = {path for path in served.noted("write") if "/diptych-ui-" not in path}
    assert outside <= {"/dev/null"}


def test_a_page_comes_back_with_its_server(trained: Path, towns: Path, tmp_path: Path) -> None:
    with running(tmp_path / "notes", [trained]) as server:
        window = Browser(server, tmp_path)
        window.open()
        window.translated(lambda: window.choose_files("#picture", [min(towns.glob("testA/*"))]))
        window.driver.execute_script("window.before = true")
        assert server.stop() == 0
        window.click("B \u2192 A", "label")  # (it finds out when it asks for something)
    try:
        with running(tmp_path / "notes", [trained], "--port", str(server.port)):
            wait_until(lambda: not window.driver.execute_script("return window.before"))
            wait_until(lambda: window.all("#examples img"))
            window.translated(lambda: window.choose_files("#picture", [min(towns.glob("testA/*"))]))
    finally:
        window.driver.quit()


def test_a_browser_gets_in_with_the_key(trained: Path, tmp_path: Path) -> None:
    """It says where a form comes from; httpx does not."""
    key = "a-key-of-some-length"
    with running(tmp_path / "notes", [trained], "--key", key) as server:
        window = Browser(server, tmp_path)
        try:
            window.driver.get(server.address)
            window.one("input[name=key]").send_keys("wrong")
            window.click("Go on")
            wait_until(lambda: any("not the key" in text for text in window.texts("body")))
            window.one("input[name=key]").send_keys(key)
            window.click("Go on")
            wait_until(lambda: window.all("#examples img"))
        finally:
            window.driver.quit()
