"""A person's mistakes: each ends in one clear line and an exit code, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import TINY_OPTIONS, Command
from PIL import Image
from safetensors.numpy import save_file


def train(*arguments: str | Path) -> list[str | Path]:
    return ["train", *arguments, *TINY_OPTIONS, "--steps", "2"]


@pytest.fixture
def here(tmp_path: Path, towns: Path) -> Path:
    """A place with good folders a and b, and several bad ones."""
    shutil.copytree(towns / "trainA", tmp_path / "a")
    shutil.copytree(towns / "trainB", tmp_path / "b")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no picture")
    (tmp_path / "damaged").mkdir()
    for i in range(3):
        (tmp_path / "damaged" / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (tmp_path / "single").mkdir()
    shutil.copy(next((tmp_path / "a").iterdir()), tmp_path / "single")
    shutil.copytree(tmp_path / "a", tmp_path / "same-pictures")
    shutil.copytree(tmp_path / "a", tmp_path / "outer")
    (tmp_path / "dicom").mkdir()
    for name in ("1.DCM", "2.dcm", "3.nii"):
        (tmp_path / "dicom" / name).write_bytes(b"of another kind")
    (tmp_path / "iphone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "exp").mkdir()
    for name in ("latest_net_G_A.pth", "net_D.pth"):
        shape = {"model.0.weight": torch.zeros(4, 3, 4, 4), "model.2.filt": torch.zeros(4, 1, 3, 3)}
        torch.save(shape, tmp_path / "exp" / name)
    (tmp_path / "pop.webp").write_bytes(b"RIFF" + bytes(100))
    (tmp_path / "index.html").write_text("<!doctype html><title>my own page</title>")
    shutil.copytree(tmp_path / "b", tmp_path / "outer" / "b")
    (tmp_path / "bad.yaml").write_text("training: [")
    (tmp_path / "odd.yaml").write_text("preset: 5\ntraining:\n")
    (tmp_path / "list.yaml").write_text("- training")
    (tmp_path / "classic.yaml").write_text("preset: classic")
    (tmp_path / "whole" / "trainA").mkdir(parents=True)
    (tmp_path / "dotted.yaml").write_text("loss.cycle: 5")
    (tmp_path / "typo.yaml").write_text("loss:\n  cicle: 3")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "wrong.safetensors").write_bytes(b"not a model")
    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    for i, values in enumerate((0, 0, 0)):
        (tmp_path / "flat").mkdir(exist_ok=True)
        flat = np.full((20, 20 + i), values, np.uint16)
        Image.fromarray(flat).save(tmp_path / "flat" / f"{i}.png")
    return tmp_path


LONG = "n" * 300  # no disk takes such a name

CASES = [
    # arguments, exit code, what the line must say
    (train("nowhere", "b"), 1, ["there is no folder nowhere"]),
    (train("a/town-0000.png", "b"), 1, ["town-0000.png is a file", "folder"]),
    (train("empty", "b"), 1, ["no picture in empty", ".png"]),
    (train("texts", "b"), 1, ["no picture in texts"]),
    (train("damaged", "b"), 1, ["none of the 3 pictures in damaged can be read", "0.png"]),
    (train("single", "b"), 1, ["single needs at least two different pictures"]),
    (train("a", "a"), 2, ["same folder a"]),
    (train("a", ""), 2, ["a word is empty", "variable"]),
    (train("a", "b", "--from="), 2, ["--from has no value", "variable"]),
    (["ui", "nowhere", "--key=of-base64=="], 1, ["no model nowhere"]),
    (train("a", "b", "--batch", "1.5"), 2, ["--batch", "a whole number"]),
    ([*train("a", "b"), "--set", "training.batch=1.5"], 2, ["training.batch", "a whole number"]),
    (train("a", "same-pictures"), 2, ["same pictures"]),
    (train("outer", "outer/b"), 2, ["outer/b lies in outer, which is searched", "side by side"]),
    (train("outer/b", "outer"), 2, ["outer/b lies in outer"]),
    ([*train("a", "b"), "--set", "training.compile=true", "--set", "loss.r1=1"], 2,
     ["training.compile cannot be had with loss.r1"]),
    ([*train("a", "b"), "--set", "optimizer.schedule=plateau", "--set", "loss.cycle=0"], 2,
     ["plateau watches the cycle loss"]),
    (train("a", "b", "--set", "history=0"), 2, ["'history'", "training.history"]),
    (["data", "check", "a", "b", "--set", "flip=false"], 2, ["'flip'", "data.flip"]),
    ([*train("a", "b"), "--set", "data.size=1000000"], 2, ["data.size = 1000000", "less than"]),
    (train("a", "b", "--preset", "paper", "--set", "preset=classic"), 2, ["presets paper and"]),
    (["translate", "exp/latest_net_G_A.pth", "a", "-o", "out"], 1, ["diptych import"]),
    (["translate", "exp", "a", "-o", "out"], 1, ["no model in exp", "diptych import"]),
    (["evaluate", "exp"], 1, ["there is no run in ", "diptych import"]),
    (["import", "a", "-o", "x.safetensors"], 1, ["no latest_net_G_A.pth", "in a"]),
    (["import", "exp/net_D.pth", "-o", "x.safetensors"], 1, ["CUT's discriminator", "leave it"]),
    (["import", "exp", "-o", "exp/latest_net_G_A.pth", "--overwrite"], 2, ["written over exp"]),
    (["import", "exp", "-o", "new.pth"], 2, ["new.pth would be", "name new.safetensors"]),
    (train("a"), 2, ["two folders", "--data"]),
    (train("--data", "a"), 1, ["a has no trainA and no trainB"]),
    ([*train("a", "b"), "--set", "data.size=31"], 2, ["data.size 31", "30 or 32"]),
    ([*train("a", "b"), "--set", "data.size=8"], 2, ["data.size 8 is too small", "16"]),
    ([*train("a", "b"), "--set", "data.size=5"], 2, ["data.size 5 is too small", "16"]),
    ([*train("a", "b"), "--set", "discriminator.sees=8"], 2,
     ["discriminator.sees 8 is too small", "use 13 or more"]),
    ([*train("a", "b"), "--preset", "laptop", "--set", "discriminator.layers=6"], 2,
     ["discriminator.sees 64 is too small", "use 385 or more, with data.size 386 or more"]),
    (train("a", "b", "--preset", "laptap"), 2, ["no preset 'laptap'", "'laptop'"]),
    (train("a", "b", "--set", "generator.widht=8"), 2, ["'generator.widht'", "'width'"]),
    (train("a", "b", "--set", "generatr.width=8"), 2, ["'generatr'", "'generator'"]),
    (train("a", "b", "--set", "loss.adversarial=wgan"), 2, ["'wgan'", "'wgangp'"]),
    (train("a", "b", "--set", "discriminator.norm=foo"), 2, ["'foo'", "instance"]),
    (train("a", "b", "--method", "fastcut", "--set", "contrast=5"), 2, ["contrast"]),
    (train("a", "b", "--set", "data.background=#ff88zz"), 2, ["#ff88zz"]),
    ([*train("a", "b"), "--set", "generator.architecture=unet", "--set", "generator.levels=3",
      "--set", "generator.upsample=antialias"], 2, ["antialias needs architecture resnet"]),
    ([*train("a", "b"), "--set", "generator.architecture=unet", "--set", "generator.levels=3",
      "--set", "generator.halvings=1"], 2, ["halvings are for the architecture resnet"]),
    *((train("a", "b", "--set", "discriminator.architecture=pixel",
             "--set", f"discriminator.{setting}=true"), 2, [f"{setting} needs architecture patch"])
      for setting in ("fine", "texture")),
    (train("a", "b", "--set", "loss.cycle=much"), 2, ["loss.cycle = 'much'", "number"]),
    (train("a", "b", "--set", "loss.cycle"), 2, ["section.key=value"]),
    (train("a", "b", "--set", "data.background=whit"), 2, ["'whit' is not a colour"]),
    (train("a", "b", "--batch", "0"), 2, ["training.batch = 0", "greater than or equal to 1"]),
    (train("a", "b", "--epochs", "3"), 2, ["one of steps, epochs, minutes"]),
    ([*train("a", "b"), "--set", "training.device=gpu"], 2, ["no device 'gpu'"]),
    (train("a", "b", "--range-a", "5"), 2, ["--range-a '5'", "low,high"]),
    (train("a", "b", "--range-a", "9,3"), 2, ["low below high"]),
    (train("a", "b", "--range-a=-inf,3"), 2, ["two finite numbers"]),
    (train("a", "b", "--set", "training.features=foo"), 2, ["efficientnet-lite0, inception"]),
    (["report", "RUN", "-o", "a/town-0000.png"], 2, ["is no page"]),
    (["compare", "RUN", "RUN", "-o", "a/town-0000.png"], 2, ["is no page"]),
    (["report", "RUN", "-o", "new.png"], 2, ["new.png: name a page, NAME.html"]),
    (["compare", "RUN", "RUN", "-o", "new.md"], 2, ["new.md: name a page, NAME.html"]),
    (["compare", "RUN", "RUN", "-o", "index.html"], 2, ["index.html exists and is no page of"]),
    (["report", "RUN", "-o", "index.html"], 2, ["index.html exists and is no page of"]),
    (train("a", "b", "--channels", "7"), 2, ["1 or 3 channels", "native"]),
    (train("flat", "b", "--set", "a.depth=native"), 1, ["one value 0", "--range-a"]),
    (train("a", "b", "--set", "training=4"), 2, ["training is a section"]),
    ([*train("a", "b"), "--set", "training.device=[1]"], 2, ["training.device = [1]"]),
    (train("a", "b", "--config", "odd.yaml"), 2, ["no preset '5'"]),
    (train("a", "b", "--set", "steps=5"), 2, ["did you mean training.steps?"]),
    (train("whole"), 2, ["whole holds trainA: did you mean --data whole?"]),
    (train("a", "b", "--config", "dotted.yaml"), 2, ["loss.cycle", "as loss: {cycle: 5}"]),
    ([*train("a", "b"), "--set", "a.range=0,255"], 2, ["write it as a list, as in [0, 255]"]),
    ([*train("a", "b"), "--set", "a.range=5"], 2, ["a.range = 5: "]),
    (train("a", "b", "--config", "classic.yaml", "--preset", "paper"), 2,
     ["classic.yaml is for the preset classic", "leave the preset paper out"]),
    ([*train("a", "b"), "--preprocess", "none", "--set", "discriminator.layers=4"], 2,
     ["too small"]),
    (train("a", "b", "--preprocess", "none", "--set", "loss.adversarial=wgangp"), 2, ["one size"]),
    (train("a", "b", "--run", "b/run"), 2, ["would lie among the pictures of b"]),
    (train("a", "b", "--config", "bad.yaml"), 1, ["bad.yaml is not valid YAML: line 1: "]),
    (train("a", "b", "--config", "typo.yaml"), 2, ["typo.yaml: there is no setting 'loss.cicle'"]),
    (train("a", "b", "--config", "list.yaml"), 1, ["list.yaml must be sections"]),
    (train("a", "b", "--config", "none.yaml"), 1, ["cannot read the config none.yaml"]),
    (train("a", "b", "--run", "texts"), 2, ["texts is not empty"]),
    (train("a", "b", "--run", "bad.yaml/run"), 1, ["cannot write the run folder bad.yaml/run"]),
    (["train", "--run", "none", "--resume"], 1, ["there is no run in none"]),
    (["translate", "none", "a", "-o", "out"], 1, ["there is no model none"]),
    (["translate", "empty", "a", "-o", "out"], 1, ["there is no model in empty"]),
    (["translate", "wrong.safetensors", "a", "-o", "out"], 1, ["not a model file"]),
    (["translate", "other.safetensors", "a", "-o", "out"], 1, ["not a diptych model"]),
    (["translate", "MODEL", "none", "-o", "out"], 1, ["there is no picture none"]),
    (["translate", "MODEL", "damaged", "-o", "out"], 1, ["none of the 3 pictures", "0.png"]),
    (["translate", "MODEL", "a", "-o", "a"], 2, ["would lie among the pictures of a"]),
    (train("dicom", "b"), 1, ["no picture in dicom", "it holds 2 .dcm, 1 .nii: save"]),
    (train("a", "bee"), 1, ["there is no folder bee"]),
    (["report", "nope"], 1, ["there is no run in nope"]),
    (["report", "MODEL"], 1, ["is a file: give the run folder"]),
    (["evaluate", "MODEL"], 1, ["is a file: give the run folder", "evaluate RUN --model"]),
    (["import", "a/town-0000.png", "-o", "x.safetensors"], 1, ["0000.png is not a .pth"]),
    (["import", "pop.webp", "-o", "x.safetensors"], 1, ["pop.webp is not a .pth"]),
    (["translate", "MODEL", "iphone.HEIC", "-o", "out"], 1, ["it is HEIC, cut short"]),
    (["translate", "MODEL", "a", "-o", "a/out"], 2, ["would lie among the pictures of a"]),
    (["translate", "MODEL", "a/town-0000.png", "-o", "x.exr"], 2, ["cannot write 'exr'", "tif"]),
    (["translate", "MODEL", "a/town-0000.png", "-o", "x.mxf"], 2, ["a video as x.mxf", ".mp4"]),
    (["translate", "MODEL", "a/town-0000.png", "-o", "x.mp4"], 2, ["is one picture", "x.png"]),
    (["translate", "MODEL", "a", "-o", "out.png"], 2, ["out.png is one picture", "name a folder"]),
    *((["translate", "MODEL", given, "-o", "bad.yaml"], 2, ["bad.yaml is a file: name a folder"])
      for given in ("a/town-0000.png", "a")),
    (["translate", "MODEL", "a", "-o", "bad.yaml/out"], 1, ["cannot make the folder bad.yaml/out"]),
    (["translate", "MODEL", "a/town-0000.png", "-o", "out.png", "--format", "jpg"], 2,
     ["out.png and --format jpg disagree"]),
    (["translate", "MODEL", "a", "-o", "out", "--to", "c"], 2, ["--to 'c'"]),
    (["translate", "MODEL", "a", "-o", "out", "--format", "gif"], 2, ["'gif'", "png"]),
    (["report", "none"], 1, ["there is no run in none"]),
    (["report", "RUN", "-o", "bad.yaml/x.html"], 1, ["cannot write the page bad.yaml/x"]),
    (["data", "get", "horse2zebr"], 2, ["'horse2zebra'"]),
    (["data", "get", "x", "--url", "http://a..b/x.zip"], 2, ["is not an address"]),
    (["import", "exp/latest_net_G_A.pth", "-o", ".", "--overwrite"], 1, ["is"]),
    *((arguments, 1, [LONG]) for arguments in (
        ["translate", LONG, "a", "-o", "out"], ["translate", "MODEL", LONG, "-o", "out"],
        ["translate", "MODEL", "a", "-o", LONG], ["import", LONG, "-o", "x"],
        ["export", "MODEL", "--format", "torch", "-o", LONG],
        ["import", "a/town-0000.png", "-o", LONG], ["ui", LONG], ["demo", "--run", LONG],
        ["data", "get", "x", "--url", "http://127.0.0.1:1/x", "-o", LONG],
        ["data", "check", "--data", LONG],
    )),
    (["data", "check", "loop", "a"], 1, ["there is no folder loop"]),
    (["trian", "a", "b"], 2, ["no such command 'trian'", "(see diptych --help)"]),
    (["data", "lst"], 2, ["no such command 'lst'", "(see diptych data --help)"]),
    (["train", "a", "b", "--stepps", "2"], 2, ["--stepps", "--steps", "(see diptych train "]),
    (train("a", "b", "--set", "training.minutes=1"), 2, ["=1: give one length"]),
    (["train", "a", "b", "--steps", "two"], 2, ["invalid value for '--steps'"]),
    (["translate"], 2, ["missing argument", "(see diptych translate --help)"]),
    (["translate", "a", "RUN", "-o", "out"], 2, ["is a run or model: it comes first"]),
    (["translate", "a", "MODEL", "-o", "out"], 2, ["is a run or model: it comes first"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "words"), CASES, ids=lambda x: str(x)[:60])
def test_one_clear_line(
    here: Path, trained: Path, diptych: Command, arguments: list[str], code: int, words: list[str]
) -> None:
    places = {"MODEL": str(trained / "model.safetensors"), "RUN": str(trained)}
    before = snapshot(here)
    done = diptych(*[places.get(argument, argument) for argument in arguments], cwd=here)
    assert done.returncode == code, done.stderr
    assert not done.stdout.startswith("\n")
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("diptych: ")
    assert len(done.stderr.splitlines()) == 1
    assert snapshot(here) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_is_never_overwritten(trained: Path, here: Path, diptych: Command) -> None:
    before = snapshot(trained)
    done = diptych(*train("a", "b", "--run", trained), cwd=here)
    assert done.returncode == 2
    assert "already holds a run: continue it with --resume" in done.stderr
    assert snapshot(trained) == before


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_run_whose_name_is_no_text(trained: Path, here: Path, diptych: Command) -> None:
    name = os.fsdecode(b"l\xe4ufe")
    done = diptych(*train("a", "b", "--run", name), cwd=here)
    assert done.returncode == 2
    assert "is no text: choose another" in done.stderr
    assert not (here / name).exists()
    shutil.copytree(trained, here / name)
    done = diptych("translate", name, "a", "-o", "out", cwd=here)
    assert done.returncode == 1
    assert done.stderr.endswith("its name is no text: rename it\n")


def test_resume_takes_no_other_settings(trained: Path, diptych: Command) -> None:
    done = diptych("train", "--run", trained, "--resume", "--batch", "2")
    assert done.returncode == 2
    assert "a run goes on with its own settings" in done.stderr


def test_resume_takes_the_same_settings_once_more(trained: Path, diptych: Command) -> None:
    again = ["train", "--run", trained, "--resume", "--preset", "repaint", "--size", "32"]
    assert diptych(*again).returncode == 0
    other = diptych("train", "--run", trained, "--resume", "--preset", "laptop")
    assert other.returncode == 2
    assert "(preset is repaint in the run, not laptop)" in other.stderr
    step = trained / "checkpoints" / "step-00000008"
    assert f"diptych evaluate {trained} --model" in diptych("report", step).stderr


def test_damaged_pictures_are_named_or_refused(here: Path, diptych: Command) -> None:
    shutil.copy(here / "damaged" / "0.png", here / "a" / "cut.png")
    skipping = diptych(*train("a", "b", "--run", "run"), cwd=here)
    assert skipping.returncode == 0, skipping.stderr
    assert "left out 1 picture of a: cut.png (" in skipping.stdout
    strict = diptych(*train("a", "b", "--run", "strict", "--strict"), cwd=here)
    assert strict.returncode == 1
    assert "cut.png" in strict.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(here: Path, diptych: Command) -> None:
    (here / "empty").chmod(0o500)
    done = diptych(*train("a", "b", "--run", "empty/run"), cwd=here)
    assert done.returncode == 1
    assert "cannot write the run folder" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may go everywhere")
@pytest.mark.parametrize("arguments", [
    ["translate", "MODEL", "empty/in/x.png", "-o", "out"],
    ["translate", "empty/in/m", "a", "-o", "out"], ["translate", "MODEL", "a", "-o", "empty/in/x"],
    ["export", "MODEL", "--format", "torch", "-o", "empty/in/x"],
    ["import", "empty/in/x.pth", "-o", "x"], ["data", "get", "horse2zebra", "-o", "empty/in/x"],
    ["data", "check", "--data", "empty/in"], ["demo", "--run", "empty/in/run"],
    ["ui", "empty/in/run"],
], ids=lambda x: str(x)[:60])  # fmt: skip
def test_a_folder_that_may_not_be_entered(
    here: Path, trained: Path, diptych: Command, arguments: list[str]
) -> None:
    (here / "empty").chmod(0o000)
    model = str(trained / "model.safetensors")
    done = diptych(*[model if one == "MODEL" else one for one in arguments], cwd=here)
    (here / "empty").chmod(0o700)
    assert done.returncode == 1
    assert "ermission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    code = "import os; os.rmdir(os.getcwd()); from diptych.cli.main import main; main()"
    command = [sys.executable, "-c", code, "translate", "m", "a", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 1
    assert done.stderr == "diptych: the current folder has been removed: cd to another\n"


def test_nothing_typed_is_answered_with_help(diptych: Command) -> None:
    for typed in ([], ["data"]):
        done = diptych(*typed)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Usage: diptych" in done.stdout


def test_ctrl_c_while_the_commands_are_loaded(tmp_path: Path) -> None:
    code = """
import sys
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Slow())
from diptych.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "demo"], capture_output=True, text=True, timeout=LONGEST
    )
    assert (done.returncode, done.stderr) == (130, "diptych: interrupted\n")


def test_debug_shows_the_traceback(here: Path, diptych: Command) -> None:
    done = diptych("--debug", *train("nowhere", "b"), cwd=here)
    assert "Traceback" in done.stderr
    assert "there is no folder nowhere" in done.stderr
