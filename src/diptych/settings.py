"""Settings as people give them: presets, YAML files, ``--set``; merged and made into a Config."""

from __future__ import annotations

import reprlib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import ValidationError

from diptych.config import LENGTHS, Config
from diptych.errors import DiptychError, UsageError
from diptych.section import Section
from diptych.words import WHOLE_NUMBER, first_line, nearest, within

Tree = dict[str, Any]
# What options of the field's first implementation are here (docs/coming-from-cyclegan.md).
THEIRS = {
    "batch_size": "training.batch", "crop_size": "data.size",
    "gan_mode": "loss.adversarial", "input_nc": "a.channels",
    "lambda_A": "loss.cycle", "lambda_B": "loss.cycle",
    "lambda_NCE": "contrast.source", "lambda_identity": "loss.identity", "lr": "optimizer.rate",
    "lr_policy": "optimizer.schedule", "n_epochs": "training.epochs",
    "n_epochs_decay": "optimizer.decay_from", "n_layers_D": "discriminator.layers",
    "nce_T": "contrast.temperature", "ndf": "discriminator.width",
    "netD": "discriminator.architecture", "netG": "generator.architecture",
    "ngf": "generator.width", "no_dropout": "generator.dropout", "no_flip": "data.flip",
    "output_nc": "b.channels", "pool_size": "training.history",
    "save_epoch_freq": "training.keep_every",
}  # fmt: skip


def preset_names() -> list[str]:
    """The presets that come with diptych."""
    folder = resources.files("diptych") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name[-5:] == ".yaml")


def read_preset(name: str) -> Tree:
    """The settings of a preset as a plain tree. Raises UsageError for an unknown name."""
    names = preset_names()
    if name not in names:
        raise UsageError(f"there is no preset {name!r}: {nearest(name, names)}")
    text = (resources.files("diptych") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return {"preset": name, **read_yaml(text)}


def read_config_file(path: Path) -> Tree:
    """The settings in a YAML file, which may be a run's. Raises DiptychError as ``read_tree``."""
    tree = read_tree(path)
    tree.pop("made_with", None)  # what a run writes beside its settings
    return {name: value for name, value in tree.items() if value is not None}


def read_tree(path: Path) -> Tree:
    """What a YAML file of settings holds. Raises DiptychError if it cannot be read."""
    try:
        tree = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DiptychError(f"cannot read the config {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = first_line(error)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            reason = f"line {error.problem_mark.line + 1}: {error.problem}"
        raise DiptychError(f"the config {path} is not valid YAML: {reason}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise DiptychError(f"the config {path} must be sections with keys, like the presets")
    return tree


class _PlainLoader(yaml.SafeLoader):
    """Reads no aliases, whose copies of copies fill a memory, and takes no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), keys[-1])
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice!r} comes twice: put its keys together", node.start_mark
            )
        return found


def read_yaml(text: str) -> Any:
    """What a text of settings holds. Raises YAMLError, ValueError or RecursionError."""
    return yaml.load(text, Loader=_PlainLoader)


def given(**values: Any) -> Tree:
    """Those that a person has given: not None."""
    return {name: value for name, value in values.items() if value is not None}


def merge(base: Tree, change: Tree) -> Tree:
    """``base`` with the values of ``change`` on top, section by section.

    A new length (steps, epochs or minutes) replaces the one in ``base``, whichever that was.
    """
    merged = dict(base)
    if any(change.get(length) is not None for length in LENGTHS):
        merged = {key: value for key, value in merged.items() if key not in LENGTHS}
    for key, value in change.items():
        own = merged.get(key)
        merged[key] = merge(own, section(change, key)) if isinstance(own, dict) else value
    return merged


def section(tree: Tree, name: str) -> Tree:
    """What ``tree`` says in a section, perhaps nothing. Raises UsageError if it is a value."""
    found = tree.get(name)
    if found is None:  # (in YAML also a section without keys)
        return {}
    if not isinstance(found, dict):
        raise UsageError(
            f"{name} is a section, not a value like {found}: write {name}.setting=value with "
            f"--set, and {name}: {{setting: value}} in a file"
        )
    return found


def parse_assignment(text: str) -> Tree:
    """``"training.batch=4"`` as ``{"training": {"batch": 4}}``; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text!r}: write it as section.key=value")
    try:
        # (A colour like #ff8800 is no comment.)
        # (Nor is 010, as in the numbers of jobs, octal.)
        plain = value.lstrip("0") or "0" if value.isdecimal() else value
        tree: Any = value if value.startswith("#") else read_yaml(plain)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--set {text!r}: the value is not valid YAML") from error
    for part in reversed(key.strip().split(".")):
        tree = {part: tree}
    assert isinstance(tree, dict)
    return tree


def flat(tree: Tree, above: str = "") -> dict[str, object]:
    """Settings by their whole names: ``{"training.batch": 2}``."""
    found: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{above}{name}.")
        else:
            found[above + name] = value
    return found


def differences(its: Tree, other: Tree, where: str) -> list[str]:
    """``training.batch is 2 {where}, not 4``, of each setting that is another in ``other``."""
    one, another = flat(its), flat(other)
    return [
        f"{name} is {one[name]} {where}, not {another[name]}"
        for name in one
        if one[name] != another[name]
    ]


def build_config(tree: Tree) -> Config:
    """Check ``tree`` and make a Config of it. Raises UsageError with one line, naming the key."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UsageError(_one_line(error)) from error


def changed(config: Config, settings: Tree) -> Config:
    """``config`` with other settings on top. Raises UsageError as ``build_config``."""
    return build_config(merge(config.model_dump(), settings))


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    # (Where a setting may be of several types, the one that was tried is among its names.)
    path = [str(part) for part in first["loc"] if "[" not in str(part)]
    seen = reprlib.repr(first["input"])
    where = ".".join(path)
    if first["type"] == "extra_forbidden":
        above, dot, name = path[-1].partition(".")
        if dot:
            nested = f"write it in its section, as {above}: {{{name}: {seen}}}"
            return f"there is no setting {where!r} in one word: {nested}"
        inside = [THEIRS[path[-1]]] if path[-1] in THEIRS else _settings_named(where)
        if inside:
            return f"there is no setting {where!r}: did you mean {' or '.join(inside)}?"
        names = _section_at(path[:-1]).model_fields
        return f"there is no setting {where!r}: {nearest(path[-1], names)}"
    if first["type"] == "literal_error":
        field = _section_at(path[:-1]).model_fields[path[-1]]
        valid = _choices(field.annotation)
        return f"{where} cannot be {seen}: {nearest(str(first['input']), valid)}"
    if first["type"] == "tuple_type":
        return f"{where} = {seen}: write it as a list, as in [0, 255]"
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("int_parsing", "int_from_float", "int_type"):
        what = WHOLE_NUMBER
    if not where or first["type"] == "value_error":
        return f"{where}: {what}" if where else what
    return f"{where} = {seen}: {within(what)}"


def _choices(annotation: Any) -> list[str]:
    """The words of a Literal, also of one that may be None instead."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return [str(part) for part in parts]
    return [word for part in parts for word in _choices(part)]


def _settings_named(name: str) -> list[str]:
    """Those of all sections that have this name, as one would set them."""
    found = []
    for section, field in Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section) and name in kind.model_fields:
            found.append(f"{section}.{name}")
    return found


def _section_at(path: list[str]) -> type[Section]:
    section: type[Section] = Config
    for name in path:
        annotation = section.model_fields[name].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, Section)
        section = annotation
    return section


def to_yaml(config: Config, made_with: dict[str, str]) -> str:
    """The whole tree as YAML text, with the versions it was made with at the end."""
    tree = config.model_dump(mode="json")
    return yaml.safe_dump({**tree, "made_with": made_with}, sort_keys=False, allow_unicode=True)
