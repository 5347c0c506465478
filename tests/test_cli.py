"""The command as a person meets it."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import LONGEST
from conftest import TINY_OPTIONS, Command

from diptych.errors import UsageError
from diptych.model_file import read_info
from diptych.settings import THEIRS, build_config, merge, preset_names, read_preset, to_yaml
from diptych.training.choice import make_config
from diptych.words import nearest


def test_help_names_every_command(diptych: Command) -> None:
    shown = diptych("--help")
    assert shown.returncode == 0
    for command in ("demo", "train", "translate", "evaluate", "compare", "report", "data"):
        assert f" {command} " in shown.stdout
        assert diptych(command, "--help").returncode == 0


def test_the_shell_completes_commands_and_options(
    diptych: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_DIPTYCH_COMPLETE", "complete_bash")
    for words, completed in (("diptych tr", "train translate"), ("diptych ui --po", "--port")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert diptych().stdout.split() == completed.split()


def test_the_time_that_is_left() -> None:
    """By the pace of this session where steps are counted: another machine made the rest."""
    from diptych.cli.console import describe
    from diptych.training.watch import Status
    from diptych.words import duration

    assert "3 min left" in describe(Status(1010, 10_000, 0.101, 1000.0, 50.0, {}))
    assert "2 min left" in describe(Status(1010, None, 0.2, 30.0, 50.0, {}))
    assert "6 min left" in describe(Status(1010, None, 0.1, 40.0, 50.0, {}))  # (of seven)
    assert [duration(60 * n) for n in (0.75, 12, 89, 90, 320)] == [
        "45 s", "12 min", "89 min", "1 h 30 min", "5 h 20 min"
    ]  # fmt: skip


def test_help_and_import_do_not_load_torch() -> None:
    code = (
        "import sys, diptych, diptych.cli.main as m\n"
        "try: m.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print('loaded', [n for n in ('torch', 'numpy', 'PIL', 'jinja2') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LONGEST
    )
    assert done.stdout.rstrip().endswith("loaded []")


def test_presets_are_whole_and_as_the_design_says() -> None:
    assert preset_names() == ["best", "classic", "laptop", "paper", "repaint"]
    classic, paper = (build_config(read_preset(name)) for name in ("classic", "paper"))
    assert (classic.generator.blocks, paper.generator.blocks) == (6, 9)
    assert (classic.training.history, paper.training.history) == (0, 50)
    assert (classic.training.steps, paper.training.epochs) == (200_000, 200)
    assert (classic.loss.discriminator, paper.loss.discriminator) == (1.0, 0.5)
    assert (classic.data.preprocess, paper.data.preprocess) == ("resize", "resize-crop")
    for preset in (classic, paper):
        assert (preset.data.size, preset.training.batch, preset.optimizer.rate) == (256, 1, 2e-4)
        assert (preset.loss.cycle, preset.loss.identity, preset.optimizer.beta1) == (10, 5, 0.5)


def test_a_config_file_and_settings_lie_on_top_of_the_preset(
    towns: Path, tmp_path: Path, diptych: Command
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "preset: classic\ngenerator:\n  blocks: 1\n  norm: group\nloss:\n  cycle: 7\n"
    )
    run = tmp_path / "run"
    done = diptych(
        "train", "--data", towns, "--run", run, "--config", tmp_path / "mine.yaml",
        *TINY_OPTIONS, "--set", "loss.cycle=3", "--epochs", "1", "--precision", "bf16",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used = yaml.safe_load((run / "config.yaml").read_text())
    assert used["preset"] == "classic"
    assert used["optimizer"]["schedule"] == "constant"  # of the preset
    assert used["generator"]["norm"] == "group"  # of the file
    assert used["loss"]["cycle"] == 3  # of the command, over the file
    assert (used["training"]["epochs"], used["training"]["steps"]) == (1, None)
    # What a run wrote is itself a config file, for another one like it.
    again = diptych("train", "--data", towns, "--run", tmp_path / "2", "--config",
                    run / "config.yaml")  # fmt: skip
    assert again.returncode == 0, again.stderr


def test_every_option_of_train_arrives(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.cli.train import train

    started: list[Any] = []
    monkeypatch.setattr("diptych.training.start.start_run", lambda *given: started.extend(given))
    train(
        data=towns, run=tmp_path / "run", preset="repaint", method="cyclegan", steps=7, batch=2,
        accumulate=3, seed=4, size=64, preprocess="crop", device="cpu", precision="bf16",
        channels=1, depth="native", range_a="0,9", range_b="1,8,-2,4", background="black",
        strict=True, keep_every=5, evaluate_every=6, max_minutes=2.5, set_=["training.history=8"],
    )  # fmt: skip
    folders, run, made, _, minutes = started
    assert (folders.a, run.path, minutes) == (towns / "trainA", tmp_path / "run", 2.5)
    t, d = made.training, made.data
    assert (t.steps, t.batch, t.accumulate, t.seed, t.device) == (7, 2, 3, 4, "cpu")
    assert (t.precision, t.keep_every, t.evaluate_every, t.history) == ("bf16", 5, 6, 8)
    assert (d.size, d.preprocess, d.background, d.strict) == (64, "crop", "black", True)
    assert (made.a.channels, made.a.depth, made.a.range) == (1, "native", (0, 9))
    assert (made.b.channels, made.b.depth, made.b.range) == (1, "native", ((1, 8), (-2, 4)))


def test_a_table_too_wide_for_the_terminal_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from diptych.cli import console

    terminal = Console(file=io.StringIO(), width=60, force_terminal=True)
    monkeypatch.setattr(console, "console", terminal)
    columns = ["run", *(f"a score of some kind {i}" for i in range(5))]
    rows = [[name, *(f"{i}.12345" for i in range(5))] for name in ("one[/b]", "two")]
    console.show_table("scores", columns, rows)
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert all(cell in shown for cell in [*columns, *rows[0], *rows[1]])
    assert max(map(len, re.sub("\x1b\\[[0-9;]*m", "", shown).splitlines())) <= 60


@pytest.mark.parametrize("module", ["numpy", "numpy.matrixlib", "torch.nn"])
@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_ctrl_c_ends_a_command_that_is_still_being_imported(
    trained: Path, module: str, command: str
) -> None:
    """(PyTorch imports NumPy from C, and drops what is raised there.)"""
    program = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["diptych", {command!r}, {str(trained)!r}]
from diptych.cli.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LONGEST
    )
    assert (done.returncode, done.stderr) == (130, "diptych: interrupted\n")


def test_a_preset_may_be_among_the_settings() -> None:
    assert make_config(settings={"preset": "classic"}).preset == "classic"
    with pytest.raises(UsageError, match="presets paper and classic are both given"):
        make_config("paper", settings={"preset": "classic"})
    with pytest.raises(UsageError, match="no preset ''"):
        make_config("")


def test_contrast_follows_the_method_over_the_file_of_another_run(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for method in ("cyclegan", "cut", "fastcut"):
        file.write_text(to_yaml(make_config("paper", settings={"method": method}), {}))
        for other, source in (("cut", 1), ("fastcut", 10)):
            found = make_config(None, file, {"method": other})
            assert found.contrast.source == source, (method, other)
    file.write_text("contrast: {source: 3}")
    assert make_config("paper", file, {"method": "fastcut"}).contrast.source == 3


def test_cut_shows_its_discriminator_the_newest_fakes_only() -> None:
    for method, history in (("cyclegan", 50), ("cut", 0), ("fastcut", 0)):
        assert make_config("paper", settings={"method": method}).training.history == history
    given = {"method": "cut", "training": {"history": 7}}
    assert make_config("paper", settings=given).training.history == 7


def test_options_of_the_field_are_found_by_their_names() -> None:
    page = (Path(__file__).parents[1] / "docs" / "coming-from-cyclegan.md").read_text()
    for theirs, ours in THEIRS.items():
        assert theirs in page
        section, name = ours.split(".")
        assert name in type(getattr(build_config({}), section)).model_fields
        with pytest.raises(UsageError, match=f"did you mean {ours}"):
            make_config("paper", settings={theirs: 0})


@pytest.mark.parametrize(
    ("word", "valid", "said"),
    [
        ("float16", ["float32", "bf16", "fp16"], "did you mean 'fp16'"),
        ("16bit", ["8bit", "native"], "choose from"),
        ("BF16", ["float32", "bf16", "fp16"], "did you mean 'bf16'"),
        ("zebra", ["horse2zebra", "maps"], "did you mean 'horse2zebra'"),
    ],
)
def test_suggestions_take_numbers_as_they_are(word: str, valid: list[str], said: str) -> None:
    assert said in nearest(word, valid)


@pytest.mark.parametrize("width", [80, 120])
def test_a_line_of_training_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from diptych.cli import console

    screen = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=screen, width=width, force_terminal=True))
    info = "step 12340, 11/s, 1 h 42 min left, cycle 0.147, G 0.69, D 1.39"
    with console.progress_bar() as progress:
        progress.add_task("training", total=1, completed=0.43, info=info)
    assert info in re.sub("\x1b\\[[0-9;]*m", "", screen.getvalue())


@pytest.mark.parametrize("width", [40, 60, 79, 109])
def test_a_narrow_terminal_shows_whole_numbers_only(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from diptych.cli import console

    screen = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=screen, force_terminal=True, width=width))
    info = "step 12340, 11/s, 1 h 42 min left, cycle 0.147, G 0.69, D 1.39"
    shown = console.fitting(info, width - console.BESIDE)
    assert info.startswith(shown)
    assert info[len(shown) :][:2] in ("", ", ")
    with console.progress_bar() as progress:
        progress.add_task("training", total=1, completed=0.43, info=shown)
    drawn = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert shown in drawn
    assert "…" not in drawn


def test_the_demo_from_start_to_end(tmp_path: Path, diptych: Command) -> None:
    """Far too short to learn; its parts must all be there."""
    done = diptych("demo", "--minutes", "0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("On 100 held-out towns", "aerial to map", "map to aerial", "steps/s", "next:"):
        assert words in done.stdout
    report = (tmp_path / "runs" / "demo" / "report.html").read_text()
    assert "held-out towns" in report
    assert (tmp_path / "runs" / "demo" / "scores.json").is_file()
    again = diptych("demo", "--minutes", "0.02", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "runs" / "demo-2" / "report.html").is_file()


def test_options_of_the_other_commands_arrive(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.cli import data, demo, evaluate, export, import_, report, translate
    from diptych.scoring import Target

    class Arrived(Exception):  # noqa: N818
        pass

    def options_of(called: str, command: Any, *arguments: Any, **options: Any) -> list[Any]:
        """What ``command`` hands to the function ``called``, which does not run."""
        seen: list[Any] = []

        def note(*given: Any, **named: Any) -> None:
            seen.extend([*given, *named.values()])
            raise Arrived

        with monkeypatch.context() as instead:
            instead.setattr(f"diptych.{called}", note)
            with pytest.raises(Arrived):
                command(*arguments, **options)
        return seen

    out = tmp_path / "out"
    shown = options_of("demo.run_demo", demo.demo, out, 0.5, 7, "cpu")
    assert shown[1:4] == [0.5, 7, "cpu"]
    assert options_of("report.page.write_report", report.report, trained, out, 3)[1:] == [out, 3]
    weights = [tmp_path / "latest_net_G_A.pth"]
    given = options_of("interchange.model.import_model", import_.import_, weights, out, "batch", 48)
    assert given == [weights, "batch", 48]
    for to, ways in (("a", ("a",)), (None, ("b", "a"))):
        given = options_of("interchange.deploy.deploy", export.export, trained, out, "onnx", to,
                           uint8=True, float16=False, overwrite=True)  # fmt: skip
        assert given[1:] == ["onnx", ways, out, True, False, True, 1.0]
    given = options_of(
        "translation.translator.load", export.export, trained, out, "torch", strength=0.5
    )
    assert given == [trained, "cpu", 0.5]
    given = options_of(
        "translation.translator.load", translate.translate, trained, [tmp_path], out,
        tile="64", precision="bf16", see="32", strength=1.5, device="cpu",
    )  # fmt: skip
    assert given == [trained, "cpu", 64, "bf16", 32, 1.5]
    given = options_of(
        "scoring.evaluate", evaluate.evaluate, trained, "inception", out, True, "#fff,#000",
        "#f00,#00f", "340", "3,4", 48, tmp_path, strength=1.5, device="cpu",
    )  # fmt: skip
    a, b = Target("#f00,#00f", (3, 4)), Target("#fff,#000", (340,))
    assert given == [trained, "inception", out, True, a, b, 48, "cpu", tmp_path, 1.5]
    folders, used, *_ = options_of(
        "data.check.check", data.check, tmp_path / "a", tmp_path / "b", preset="repaint", size=48,
        depth="native", channels=2, set_=["data.zoom=1"],
    )  # fmt: skip
    assert (folders.a, folders.b) == (tmp_path / "a", tmp_path / "b")
    assert (used.preset, used.data.size) == ("repaint", 48)
    for domain in (used.a, used.b):
        assert (domain.depth, domain.channels) == ("native", 2)


def test_the_home_folder_is_the_same_to_all_commands(
    trained: Path, tmp_path: Path, diptych: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained, tmp_path / "home" / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    lite = ("--features", "efficientnet-lite0")
    picture = min(trained.parent.rglob("*.png"))
    for command in (
        ("train", "--run=~/run", "--resume"),
        ("report", "~/run", "--out=~/page.html", "--pictures", "1"),
        ("evaluate", "~/run", *lite),
        ("compare", "~/run", "~/run", "--out=~/compare.html", *lite, "--pictures", "1"),
        ("translate", "~/run", picture, "--out=~/out"),
        ("export", "~/run", "--format", "torch", "--out=~/deploy"),
    ):
        done = diptych(*command)
        assert done.returncode == 0, done.stderr
    for made in ("page.html", "compare.html", "out", "deploy"):
        assert (tmp_path / "home" / made).exists()
    assert not list((tmp_path / "elsewhere").iterdir())


MOBILE = {"architecture": "mobile", "blocks": 1}
NONE = {"data": {"preprocess": "none"}}


@pytest.mark.parametrize(
    ("refused", "words", "taken"),
    [
        ({"a": {"range": [0, 256]}}, "values 0 to 255", {"a": {"range": [0, 255]}}),
        ({"a": {"range": [[0, 9], [0, 8]]}}, "one range", {"a": {"range": [0, 9]}}),
        ({"b": {"range": [-1, 9]}}, "depth native", {"b": {"range": [-1, 9], "depth": "native"}}),
        ({"training": {"untouched": 1}, **NONE}, "pictures of one size", NONE),
        ({"training": {"judged": 2}, **NONE}, "pictures of one size",
         {"training": {"judged": 2, "batch": 2}, **NONE}),
        ({"training": {"compile": True}, **NONE}, "compile needs pictures of one size",
         {"training": {"compile": False}, **NONE}),
        ({"training": {"compile": True}, "loss": {"adversarial": "wgangp"}}, "compile cannot be",
         {"training": {"compile": True}, "loss": {"adversarial": "hinge"}}),
        ({"optimizer": {"schedule": "plateau"}, "loss": {"cycle": 0}}, "watches the cycle loss",
         {"optimizer": {"schedule": "plateau"}, "loss": {"cycle": 0, "cycle_end": 1}}),
        ({"generator": {**MOBILE, "dropout": 0.1}}, "not for the architecture mobile",
         {"generator": {"architecture": "unet", "dropout": 0.1}}),
        ({"generator": {**MOBILE, "widths": [4] * 5}}, "must be 6 for 1 blocks",
         {"generator": {**MOBILE, "widths": [4] * 6}}),
        ({"generator": {"widths": [4] * 14}}, "widths are for the architecture mobile",
         {"generator": {"architecture": "mobile", "widths": [4] * 14}}),
        ({"method": "cut", "generator": {"architecture": "unet"}}, "cut needs generator.arch",
         {"method": "cut"}),
        ({"generator": {"architecture": "unet"}, "data": {"size": 300}},
         "multiple of 256: use 256 or 512, or fewer generator.levels",
         {"generator": {"architecture": "unet"}, "data": {"size": 512}}),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(
    refused: dict[str, Any], words: str, taken: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=words):
        build_config(refused)
    build_config(taken)


@pytest.mark.parametrize(
    ("given", "preset"),
    [
        ({}, "laptop"),
        ({"training": {"batch": 8}, "generator": None}, "laptop"),
        ({"method": "cut"}, "repaint"),
        ({"generator": {"architecture": "unet"}, "data": {"size": 256}}, "repaint"),
        ({"generator": {"output": "picture"}}, "repaint"),
        ({"discriminator": {"architecture": "pixel"}}, "repaint"),
        ({"data": {"preprocess": "none"}}, "repaint"),
        ({"b": {"channels": 1}}, "repaint"),
        ({"a": {"channels": 3}, "b": {"depth": "8bit"}}, "laptop"),
    ],
)
def test_the_usual_preset_fits_what_is_given(given: dict[str, Any], preset: str) -> None:
    """Where there is no GPU: what retouches pictures, if they can be retouched that way."""
    config = make_config(settings=merge(given, {"training": {"device": "cpu"}}))
    assert config.preset == preset
    assert make_config("paper", settings={"training": {"device": "cpu"}}).preset == "paper"


def test_a_training_goes_on_when_its_reader_has_gone(towns: Path, tmp_path: Path) -> None:
    """As behind ``head``, or a collector of logs that has died."""
    command = [sys.executable, "-m", "diptych", "train", "--data", towns, "--run", tmp_path / "run",
               *TINY_OPTIONS, "--steps", "8"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as training:
        assert training.stdout is not None
        training.stdout.readline()
        training.stdout.close()
        _, said = training.communicate(timeout=LONGEST)
    assert training.returncode == 0
    assert b"going on without standard output" in said
    assert read_info(tmp_path / "run" / "model.safetensors").step == 8


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_work_goes_on_where_its_log_has_no_room_and_results_do_not(
    trained: Path, towns: Path, tmp_path: Path
) -> None:
    def into_a_full_disk(*arguments: str | Path, errors: Any = subprocess.PIPE) -> Any:
        with open("/dev/full", "w") as full:
            return subprocess.run(
                [sys.executable, "-m", "diptych", *arguments],
                stdout=full, stderr=errors or full, timeout=LONGEST, check=False,
            )  # fmt: skip

    pictures = towns / "testA"
    done = into_a_full_disk("translate", trained, pictures, "-o", tmp_path / "out", errors=None)
    assert done.returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == len(list(pictures.iterdir()))
    failed = into_a_full_disk("data", "list")
    assert (failed.returncode, failed.stderr) == (1, b"diptych: No space left on device\n")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (48, "use 32 or 64, or fewer generator.levels"),
        (16, "multiple of 32: use 32, or fewer"),
        (14, "too small for these networks: use 32 or more"),
    ],
)
def test_a_size_that_is_advised_is_one_that_goes(size: int, said: str) -> None:
    networks = {
        "generator": {"architecture": "unet", "levels": 5, "width": 4},
        "discriminator": {"layers": 1},
        "training": {"steps": 1},
    }
    with pytest.raises(UsageError, match=said):
        build_config({**networks, "data": {"size": size}})
    for advised in (32, 64):
        build_config({**networks, "data": {"size": advised}})


def test_a_section_of_a_settings_file_may_be_empty(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("a:\nloss:\n")
    assert make_config("classic", file).loss == make_config("classic").loss
