"""Two gloo processes that train together: their weights stay the same, and what goes wrong in one is known to
both.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import copy, sys, torch
from pathlib import Path
from lightning_fabric import Fabric
import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.training.training import Training

what, home = sys.argv[1], Path(sys.argv[2])
torch.set_num_threads(1)
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
torch.manual_seed(0)
model = sr.build_model("resnet8", 10, 0.125, in_channels=1, image_size=8)
images = sr.load_data("digits").train.first(100)

class Broken(sr.Adversarial):
    def outer(self, step, x_adv):
        return super().outer(step, x_adv) * (float("nan") if fabric.global_rank == 1 else 1.0)

given = {"nan": {"objective": Broken()}, "awp": {"awp": 0.01}, "clat": {"objective": sr.CLAT(0.5)}, "ema": {"start": "stored", "average": "ema"}}.get(what, {})
training = Training(**{"objective": sr.Adversarial(), "attack": sr.PGD(sr.Linf(0.1), steps=2), "epochs": 2, "batch_size": 30} | given)
state = home / "state.safetensors" if what != "apart" else home / str(fabric.global_rank) / "state.safetensors"
state.parent.mkdir(exist_ok=True)
if what == "apart" and fabric.global_rank == 0:
    training(copy.deepcopy(model), images, seed=1, state_file=state)  # alone: only one of them finds a state
try:
    trained = training(model, images, seed=1, fabric=fabric, state_file=state)
    sums = [float(p.detach().double().sum()) for p in trained.model.parameters()] + [float(b.double().sum()) for b in trained.model.buffers()]
    sums += [log.loss for log in trained.logs]
    said = (sums, trained.stopped[:60])
except InputError as error:
    said = str(error)
everyone = [None, None]
torch.distributed.all_gather_object(everyone, said)
if fabric.is_global_zero:
    (home / "said").write_text(repr((everyone[0] == everyone[1], everyone[0])))
torch.distributed.barrier()
torch.distributed.destroy_process_group()  # as PyTorch asks: else its threads now and then abort a process that is done
"""


def _said(what: str, home: Path) -> str:
    script = home / "script.py"
    script.write_text(_SCRIPT)
    environment = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    }
    done = subprocess.run(
        [sys.executable, str(script), what, str(home)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return (home / "said").read_text()


@pytest.mark.parametrize("what", ["awp", "clat", "ema"])
def test_their_weights_and_losses_stay_the_same(what, tmp_path):
    assert _said(what, tmp_path).startswith("(True, ([")


def test_a_loss_that_is_not_finite_in_one_stops_both(tmp_path):
    assert (
        "(True, (" in (said := _said("nan", tmp_path))
        and "stopped at epoch 1, step 1: the loss is nan" in said
    )


def test_states_that_differ_are_refused(tmp_path):
    assert (
        "(True, 'state: expected a folder that all processes share; they found 2 epochs, 0 epochs')"
        in _said("apart", tmp_path)
    )
