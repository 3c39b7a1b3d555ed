"""Recipes, settings and other text with numbers, nesting and names that nobody means."""

import json
import random
from pathlib import Path
from typing import Any

from tests.fuzz.grammar import rule

_TOML, _SETTINGS, _NAMES = "recipe", "settings.json", "config.json"


def _number(size: int, chance: random.Random) -> str:
    return chance.choice(
        (
            f"1e-{size}",
            f"1e{size}",
            f"1e+{size}",
            f"1e-{'0' * (size % 5000)}9{size}",
            "1/" + "7" * (size % 300_000 + 1),
            "7" * (size % 300_000 + 1) + "/3",
            "0." + "0" * (size % 300_000) + "1",
            f"1_0e{size}",
            "\u0661e" + "\u0669" * (size % 20 + 1),
            f"{size}/0",
            "-" * (size % 5000) + "1",
            f" 1 / {size} ",
            f"1e{size}/1e{size}",
        )
    )


@rule(_TOML, 10**9)
def _fraction(folder: Path, size: int, chance: random.Random) -> str:
    key = chance.choice(("threat]\nepsilon", "data]\nvalidation", "train]\nlearning_rate", "model]\nwidth"))
    return f'[{key} = "{_number(size, chance)}"\n'


@rule(_TOML, 10**18)
def _whole_number(folder: Path, size: int, chance: random.Random) -> str:
    key = chance.choice(
        (
            "train]\nepochs",
            "data]\ntrain",
            "data]\nimage_size",
            "train]\nbatch_size",
            "prune]\nlevels",
            "model]\nwidth",
        )
    )
    value = chance.choice(
        (str(size), "1" + "0" * (size % 6000), f"1e{size % 400}", f"0x{'f' * (size % 5000 + 1)}")
    )
    return f"[{key} = {value}\n"


@rule(_TOML, 200_000)
def _nested_lists(folder: Path, size: int, chance: random.Random) -> str:
    opening, closing = chance.choice((("[", "]"), ("{a=", "}")))
    return f"x = {opening * size}1{closing * size}\n"


@rule(_TOML, 200_000)
def _dotted_keys(folder: Path, size: int, chance: random.Random) -> str:
    key = "a." * size + "a"
    return chance.choice((f"{key} = 1\n", f"[{key}]\nx = 1\n", f"[[{key}]]\n", f"x = {{{key} = 1}}\n"))


@rule(_TOML, 100_000)
def _many_dotted_lines(folder: Path, size: int, chance: random.Random) -> str:
    depth = min(1900, size)
    return "".join(f"{'a.' * depth}b{i} = 1\n" for i in range(min(size, 100_000 // depth)))


@rule(_TOML, 300_000)
def _wide_tables(folder: Path, size: int, chance: random.Random) -> str:
    return chance.choice(("[train]\n", "")) + "".join(f"k{i} = {i}\n" for i in range(size))


@rule(_TOML, 300_000)
def _many_tables(folder: Path, size: int, chance: random.Random) -> str:
    return "".join(chance.choice((f"[a{i}]\n", "[[a]]\n", f"[a.b{i}]\n")) for i in range(size))


@rule(_TOML, 3_000_000)
def _long_text(folder: Path, size: int, chance: random.Random) -> str:
    quote = chance.choice(('"', "'", '"""', "'''"))
    return f"recipe = {quote}{chance.choice(('a', '.', '=', '#', chr(0x85))) * size}{quote}\n"


@rule(_TOML, 300_000)
def _many_attacks(folder: Path, size: int, chance: random.Random) -> str:
    names = ", ".join(chance.choice(('"fgsm"', '"pgd-20"', "0")) for _ in range(size))
    return f"[evaluate]\nattacks = [{names}]\n"


@rule(_TOML, 10**9)
def _attack_of_a_number(folder: Path, size: int, chance: random.Random) -> str:
    name = chance.choice((f"pgd-{size}", f"pgd-{'9' * (size % 6000 + 1)}", f"wrn_{size}_1", f"pgd-1x{size}"))
    return f'[evaluate]\nattacks = ["{name}"]\n[model]\nname = "{name}"\n'


def _changed(folder: Path, keys: tuple[str, ...], value: Any) -> str:
    content = json.loads((folder / "settings.json").read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return json.dumps(content)


@rule(_SETTINGS, 10**18)
def _network_of_any_size(folder: Path, size: int, chance: random.Random) -> str:
    keys = chance.choice(
        (("width",), ("num_classes",), ("in_channels",), ("image_size",), ("options", "depth"))
    )
    value = chance.choice((size, size % 5000, float(size), 10**30, -size))
    return _changed(folder, ("model", *keys), value)


@rule(_SETTINGS, 10**12)
def _network_of_any_name(folder: Path, size: int, chance: random.Random) -> str:
    name = chance.choice(
        (
            f"wrn_{6 * size + 4}_1",
            f"wrn_10_{size}",
            "vit_small",
            "vgg19",
            "a" * (size % 10**6),
            f"timm:{'a' * (size % 10**6)}",
        )
    )
    content = json.loads(_changed(folder, ("model", "name"), name))
    content["model"]["options"] = {"depth": size, "patch": size} if name == "vit_small" else {}
    return json.dumps(content)


@rule(_SETTINGS, 10**9)
def _numbers_in_settings(folder: Path, size: int, chance: random.Random) -> str:
    section, key = chance.choice((("threat", "epsilon"), ("data", "validation"), ("train", "learning_rate")))
    return _changed(folder, ("recipe", section, key), _number(size, chance))


@rule(_SETTINGS, 10**18)
def _large_numbers_in_settings(folder: Path, size: int, chance: random.Random) -> str:
    places = (("train", "epochs"), ("data", "image_size"), ("data", "train"), ("evaluate", "examples"))
    return _changed(
        folder,
        ("recipe", *chance.choice(places)),
        chance.choice((size, 10**100, -size)),
    )


@rule(_SETTINGS, 300_000)
def _nested_settings(folder: Path, size: int, chance: random.Random) -> str:
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
    return '{"recipe": ' + opening * size + "1" + closing * size + ', "model": {}}'


@rule(_SETTINGS, 1_000_000)
def _wide_settings(folder: Path, size: int, chance: random.Random) -> str:
    value = chance.choice(({f"k{i}": i for i in range(min(size, 300_000))}, [0] * size, "x" * size))
    keys = chance.choice((("model", "classes"), ("model", "options"), ("recipe", "model"), ("model", "mean")))
    return _changed(folder, keys, value)


@rule(_SETTINGS, 3_000_000)
def _digits_in_settings(folder: Path, size: int, chance: random.Random) -> str:
    text = _changed(folder, ("model", "width"), "HERE")
    return text.replace(
        '"HERE"', chance.choice(("9" * size, "0." + "0" * size + "1", "1e" + "9" * (size % 4000 + 1)))
    )


@rule(_NAMES, 300_000)
def _names_of_classes(folder: Path, size: int, chance: random.Random) -> str:
    kind = chance.randrange(5)
    if kind == 0:
        return json.dumps({"id2label": {str(i): "a" for i in range(size)}})
    if kind == 1:
        return json.dumps({"label2id": {"a" * i: i for i in range(min(size, 3000))}})
    if kind == 2:
        return '{"config":' * size + "{}" + "}" * size
    if kind == 3:
        return json.dumps({"classes": ["a, " * size, "b"]})
    return json.dumps({"id2label": {"9" * size: "a", "1": "b"}})


@rule("names.txt", 3_000_000)
def _lines_of_names(folder: Path, size: int, chance: random.Random) -> str:
    return chance.choice(("a\n" * size, "a, " * size, "n00000001 " + "a" * size, "\x85" * size, "\n" * size))
