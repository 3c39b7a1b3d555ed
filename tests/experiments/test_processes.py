"""Two gloo processes that train together: their weights stay the same, and what goes wrong in one is known to
both. They evaluate together too, with runs that end early, as one process does. One pair of processes goes through all cases, as starting one costs more than a case.
"""

import json
import sys
from typing import Any

import pytest

from tests.programs import finish

pytestmark = pytest.mark.xdist_group("processes")
_SCRIPT = """
import copy, json, sys, torch
from pathlib import Path
from lightning_fabric import Fabric
import semirobust as sr
from semirobust.attacks.base import ending
from semirobust.core.errors import InputError
from semirobust.core.processes import Processes
from semirobust.training.hooks.awp import AWP
from semirobust.training.hooks.ema import EMA
from semirobust.training.hooks.stored_starts import StoredStarts
from semirobust.training.training import Training

torch.set_num_threads(1)
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
images = sr.load_data("digits").train.first(100)

class Broken(sr.Adversarial):
    def outer(self, step, x_adv):
        return super().outer(step, x_adv) * (float("nan") if fabric.global_rank == 1 else 1.0)

CASES = {
    "awp": {"hooks": (AWP(0.01),)},
    "clat": {"objective": sr.CLAT(0.5)},
    "ema": {"hooks": (StoredStarts(), EMA())},
    "nan": {"objective": Broken()},
    "apart": {},
}

def said(what, home):
    torch.manual_seed(0)
    model = sr.build_model("resnet8", 10, 0.125, in_channels=1, image_size=8)
    defaults = {"objective": sr.Adversarial(), "attack": sr.PGD(sr.Linf(0.1), steps=2), "epochs": 2, "batch_size": 30}
    training = Training(**(defaults | CASES[what]))
    state = home / "state.safetensors" if what != "apart" else home / str(fabric.global_rank) / "state.safetensors"
    state.parent.mkdir(parents=True, exist_ok=True)
    if what == "apart" and fabric.global_rank == 0:
        training(copy.deepcopy(model), images, seed=1, state_file=state)  # alone: only one of them finds a state
    try:
        trained = training(model, images, seed=1, fabric=fabric, state_file=state)
        sums = [float(p.detach().double().sum()) for p in trained.model.parameters()] + [float(b.double().sum()) for b in trained.model.buffers()]
        sums += [log.loss for log in trained.logs]
        return (sums, trained.stopped[:60])
    except InputError as error:
        return str(error)

def evaluated():
    ending._QUERIES = 100  # the rule of 1,000, by parts of the queries as it is
    torch.manual_seed(7)
    layers = torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(200, 6)
    model = torch.nn.Sequential(*layers).eval()
    x = torch.rand(80, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    y, ball = model(x).argmax(1), sr.Linf(0.004)
    attacks = {
        "apgd-t": sr.APGD(ball, 50, loss="dlr-targeted", targets=3),
        "fab-t": sr.FAB(ball, 20, targets=3),
        "square": sr.Square(ball, queries=120),
    }
    parts = [
        sr.evaluate(model, x, y, attacks, seed=2, batch_size=24, processes=processes)
        for processes in (Processes(fabric), Processes())
    ]
    verdicts = [{name: one.robust[name].tolist() for name in attacks} for one in parts]
    return [verdicts[0] == verdicts[1], [sum(v) for v in verdicts[1].values()], *(list(one.notes) for one in parts)]

found = {}
for what in CASES:
    everyone = [None, None]
    torch.distributed.all_gather_object(everyone, said(what, Path(what)))
    found[what] = repr((everyone[0] == everyone[1], everyone[0]))
everyone = [None, None]
torch.distributed.all_gather_object(everyone, evaluated())
found["evaluated"] = everyone
if fabric.is_global_zero:
    Path("said.json").write_text(json.dumps(found))
torch.distributed.barrier()
torch.distributed.destroy_process_group()  # as PyTorch asks: else its threads now and then abort a process that is done
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, Any]:
    """What both processes said of each case, and whether they said the same."""
    home = tmp_path_factory.mktemp("processes")
    script = home / "script.py"
    script.write_text(_SCRIPT)
    code, _, errors = finish(home, str(script), program=(sys.executable,))
    assert code == 0, errors
    return json.loads((home / "said.json").read_text())


@pytest.mark.parametrize("what", ["awp", "clat", "ema"])
def test_their_weights_and_losses_stay_the_same(said, what):
    assert said[what].startswith("(True, ([")


def test_a_loss_that_is_not_finite_in_one_stops_both(said):
    assert "(True, (" in said["nan"] and "stopped at epoch 1, step 1: the loss is nan" in said["nan"]


def test_states_that_differ_are_refused(said):
    assert (
        "(True, 'state: expected a folder that all processes share; they found 2 epochs, 0 epochs')"
        in said["apart"]
    )


def test_runs_that_end_early_are_those_of_one_process(said):
    """Verdicts, and what the audits of all batches found."""
    first, second = said["evaluated"]
    assert first == second, "both know the same"
    equal, standing, together, alone = first
    assert equal and together == alone
    assert all(0 < count < 80 for count in standing)
    for name in ("apgd-t", "fab-t", "square"):
        assert any(note.startswith(name) and "early" in note for note in alone), alone
