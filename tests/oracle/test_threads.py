"""Several threads of one process: each gets what it would get alone, and the model stays as it was."""

import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import semirobust as sr
from semirobust.core.one_at_a_time import one_at_a_time
from tests.helpers import SmallResidual
from tests.kinds import attempt


class _Dropping(nn.Module):
    """A network that draws numbers even in eval mode."""

    def __init__(self):
        super().__init__()
        self.inner = SmallResidual()

    def forward(self, x):
        return self.inner(nn.functional.dropout(x, 0.1, training=True))


def _state(model):
    return (
        [(name, p.requires_grad) for name, p in model.named_parameters()],
        [
            (name, m.training, len(m._forward_hooks), len(m._forward_pre_hooks))
            for name, m in model.named_modules()
        ],
    )


@attempt(
    "several threads that evaluate one model",
    "they take turns: each has the verdicts of a single one, and modes, `requires_grad` and hooks are as before",
    promise="together",
)
@pytest.mark.parametrize("make", [SmallResidual, _Dropping])
def test_threads_that_share_a_model_get_the_verdicts_of_one(make):
    torch.manual_seed(0)
    model, x = make(), torch.rand(24, 3, 5, 5)
    model.train()
    model.eval()
    next(model.parameters()).requires_grad_(False)
    y, before = torch.arange(24) % 3, _state(model)
    attacks = [sr.PGD(sr.Linf(0.1), steps=3), sr.Square(sr.Linf(0.1), queries=20)]

    def verdicts(seed):
        found = sr.evaluate(model, x, y, attacks, seed=seed, fast="off")
        return torch.stack([found.clean, *found.robust.values(), *found.undecided.values()])

    alone = [verdicts(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(verdicts, range(6)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert _state(model) == before


@attempt(
    "threads that measure, attack, train and evaluate at once",
    "the numbers of one after the other",
    promise="together",
)
def test_threads_that_do_different_things_get_the_numbers_of_one():
    torch.manual_seed(0)
    model, x = SmallResidual().eval(), torch.rand(16, 3, 5, 5)
    y = model(x).argmax(1)
    attack, layers = sr.PGD(sr.Linf(0.1), steps=2), sr.layer_map(model, x)
    work = {
        "criticality": lambda: list(sr.criticality(model, x, y, threat=attack.threat, seed=1).values),
        "attack": lambda: attack(model, x, y, seed=2).flatten().tolist(),
        "features": lambda: [t.sum().item() for t in sr.forward_to(model, layers, x, (1, 2)).values()],
        "weights": lambda: [
            p.sum().item() for p in sr.build_model("resnet8", width=0.1, seed=3).parameters()
        ],
    }
    alone = {name: call() for name, call in work.items()}
    with ThreadPoolExecutor(8) as pool:
        found = [(name, pool.submit(call)) for _ in range(2) for name, call in work.items()]
    assert all(future.result() == alone[name] for name, future in found)


@attempt(
    "several threads that use a registry first",
    "all find its members",
    promise="together",
)
def test_registries_may_be_used_first_by_several_threads():
    code = (
        "import sys, threading, semirobust as sr\n"
        "sys.setswitchinterval(1e-5)\n"
        "from semirobust.attacks import ATTACKS\n"
        "from semirobust.measures import MEASURES\n"
        "from semirobust.methods import METHODS\n"
        "wrong, gate = [], threading.Barrier(15)\n"
        "def use(first, name):\n"
        "    gate.wait()\n"
        "    try: getattr(sr, name) if first is sr else first.find(name)\n"
        "    except BaseException as error: wrong.append(error)\n"
        "pairs = [(ATTACKS, 'pgd-5'), (MEASURES, 'criticality'), (METHODS, 'clat'),\n"
        "         (sr, 'evaluate'), (sr, 'Lottery')] * 3\n"
        "threads = [threading.Thread(target=use, args=pair) for pair in pairs]\n"
        "[t.start() for t in threads], [t.join() for t in threads]\n"
        "assert not wrong, wrong\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_tape_has_the_passes_of_its_own_thread():
    torch.manual_seed(0)
    model, x = SmallResidual().eval(), torch.rand(2, 3, 5, 5)
    with torch.no_grad(), sr.features(model, sr.layer_map(model, x)) as tape:
        model(x)
        recorded = tape[1].clone()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(model, torch.zeros_like(x)).result()
        assert torch.equal(tape[1], recorded)


def _evaluated(queue):
    queue.put(
        float(sr.evaluate(SmallResidual().eval(), torch.rand(4, 3, 5, 5), torch.zeros(4).long()).clean.sum())
    )


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@attempt(
    "a process that is forked while another thread is at work",
    "the new process has its own turns, and waits for none",
    promise="together",
)
def test_a_forked_process_waits_for_no_thread_of_its_parent():
    inside, leave = threading.Event(), threading.Event()

    def work():
        with one_at_a_time():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_evaluated, args=(queue,))
    child.start()
    child.join(60)
    leave.set()
    thread.join()
    ended = child.exitcode
    child.kill()
    assert ended == 0
