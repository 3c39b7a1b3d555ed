"""The most common networks of timm from their name to a report: ``python -m stress.names --install FOLDER``.

Each of 30 names goes through the real command line, ``profile --model timm:NAME`` and ``evaluate`` on a small
folder of pictures at the size that timm's configuration says, then ``report``. The weights are random, since
a test should not depend on a network to fetch them from: the way is what is tested, not the numbers.

ok: the report names the layers and the accuracies. refused: in one sentence. crash: anything else, or more
than SECONDS.

The names stand for families that lead timm's models by downloads on the hub
(huggingface.co/models?library=timm&sort=downloads), in small variants. They are chosen by hand: that list
changes from month to month and is not read here.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["NAMES", "main"]

ROOT = Path(__file__).resolve().parents[1]
NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "wide_resnet50_2",
    "resnext50_32x4d",
    "seresnext26d_32x4d",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "tf_efficientnetv2_b0",
    "densenet121",
    "vgg11",
    "inception_v3",
    "xception41",
    "regnety_002",
    "hrnet_w18_small",
    "repvgg_a0",
    "ghostnet_100",
    "convnext_atto",
    "convnextv2_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "vit_base_patch32_clip_224",
    "vit_small_patch14_dinov2",
    "eva02_tiny_patch14_224",
    "beit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
)


def main() -> None:
    """Run all names, or those that are given, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument(
        "--install", type=Path, metavar="FOLDER", help="install what it needs there, and run it"
    )
    parser.add_argument("--seconds", type=int, default=600, help="the most for one network")
    given = parser.parse_args()
    if given.install is not None:
        _in_environment(given.install, [*given.names, "--seconds", str(given.seconds)])
    # Everything heavy is imported here, once; each network then runs in a fork.
    import timm  # noqa: F401

    import semirobust.experiments.subject  # noqa: F401

    print("weights: random\n\n| network | what came of it | seconds |\n|---|---|---|")
    states: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        pictures(Path("photos"))
        for name in given.names:
            started = time.perf_counter()
            said = in_a_fork(name, given.seconds)
            states.append(said.partition(":")[0])
            print(f"| `{name}` | {said} | {time.perf_counter() - started:.0f} |", flush=True)
    print("\n" + ", ".join(f"{states.count(state)} {state}" for state in ("ok", "refused", "crash")))
    sys.exit(any(state != "ok" for state in states))


def pictures(folder: Path) -> None:
    """Two classes of noise that is brighter above or below."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("above", "below"):
            (folder / part / name).mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) // 2
                pixels[: 120 if name == "above" else None] += 60
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")


def in_a_fork(name: str, seconds: int) -> str:
    """What came of one network, in words that begin with ok, refused or crash."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(way(name)))
    process.start()
    theirs.close()
    try:
        said = ours.recv() if ours.poll(seconds) else f"crash: more than {seconds} s"
    except EOFError:
        said = "crash: the process ended"
    process.kill()
    process.join()
    return said


def way(name: str) -> str:
    """From the name to the report."""
    own = ["--model", f"timm:{name}", "--set", "model.options.pretrained=false", "--data", "photos"]
    few = ["--examples", "2", "--device", "cpu"]
    commands = (
        ["profile", *own, *few, "--attack", "pgd-1", "--out", f"runs/{name}"],
        ["evaluate", *own, *few, "--attacks", "pgd-1", "--set", "evaluate.checks=0", "--out", f"runs/{name}"],
        ["report", f"runs/{name}", "--out", f"{name}.html"],
    )
    for command in commands:
        if said := carried_out(command):
            return said
    text = re.sub(r"<[^>]*>", " ", Path(f"{name}.html").read_text())
    layers = {int(i) for i in re.findall(r'"index": ?(\d+)', _records(name))}
    if len(layers) < 2 or "pgd-1" not in text:
        return "crash: the report lacks its layers or its accuracies"
    return f"ok: {len(layers)} layers"


def _records(name: str) -> str:
    return "".join(path.read_text() for path in Path(f"runs/{name}/records").glob("*.jsonl"))


def carried_out(command: list[str]) -> str:
    """Carry out a command of ``semirobust``; empty where it went well."""
    from semirobust.cli.app import main as program

    sys.argv = ["semirobust", *command]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            program()
    except SystemExit as leave:
        lines = errors.getvalue().strip().splitlines() or [""]
        if leave.code == 2:
            return f"refused: {command[0]}: {lines[-1]}"
        return "" if not leave.code else f"crash: {command[0]}: {lines[-1]}"
    except BaseException as error:
        return f"crash: {command[0]}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ""


def _in_environment(folder: Path, arguments: list[str]) -> None:
    from stress.zoo.install import install

    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    python = str(install(folder.resolve()))
    sys.exit(
        subprocess.run([python, "-m", "stress.names", *arguments], env=variables, check=False).returncode
    )


if __name__ == "__main__":
    main()
