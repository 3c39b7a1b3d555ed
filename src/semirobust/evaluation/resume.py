"""The state of an evaluation in a file, so that an interrupted one can be resumed."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semirobust.attacks.base.sight import Tally
from semirobust.core.errors import InputError
from semirobust.core.tensor_files import bytes_of, read_checked, set_aside, write_tensors
from semirobust.layers.quiet import device_of, quiet
from semirobust.records.conditions import Conditions, spoken

__all__ = ["Ledger", "evaluation_key", "without_damaged"]

_COMPARED = 64  # examples whose predictions are part of the key
_PARTS = ("before", "stands", "decided")
_KEY = "evaluation"


def without_damaged(state: Path) -> list[str]:
    """Set aside what is damaged among the files of an evaluation that a command keeps at ``state``, one for
    each process; a sentence for each.
    """
    said = []
    for file in sorted(state.parent.glob(f"{state.stem}*{state.suffix}")):
        try:
            read_checked(file)
        except InputError:
            said.append(set_aside(file, "its verdicts are found anew"))
    return said


class Ledger:
    """For each attack: which examples were correct before it, which stand so far, on which of them the
    attack decides, how many are done, and how many successes failed the final check.

    Args:
        path: the state file; None keeps nothing. An evaluation resumes from a file that exists.
        key: of the evaluation; the file of another one is refused.
        conditions: of this process. A file of another version, or of code of the user's own that was edited
            since, is refused; other differences are said.

    Raises:
        InputError: the file cannot be read, is damaged, or is of another evaluation.
    """

    def __init__(self, path: Path | None, key: str, conditions: Conditions = Conditions()) -> None:
        if path is not None and path.suffix != ".safetensors":
            raise InputError(f"state: expected a name that ends in .safetensors, got {path}")
        self.path, self.key = path, key
        self._entries: dict[str, Tensor] = {}
        self._conditions = [conditions]
        if path is not None and path.is_file():
            metadata, entries = _read(path)
            before = [Conditions.read(each) for each in metadata.get("conditions", [])]
            self._check(path, metadata, before, conditions)
            self._entries = entries
            self._conditions = list(dict.fromkeys([*before, conditions]))

    def _check(
        self, path: Path, metadata: Mapping[str, Any], before: list[Conditions], now: Conditions
    ) -> None:
        """Raise ``InputError`` where verdicts of ``before`` cannot stand beside those of ``now``."""
        last = before[-1] if before else Conditions()
        if metadata.get(_KEY) != self.key:
            why = "model, data or settings differ"
        elif last.version != now.version:
            why = f"it was begun by version {last.version or 'unknown'}, and this is {now.version}"
        elif last.code != now.code:
            why = "the code of an attack or of the model was edited since"
        else:
            return
        raise InputError(
            f"state: {path} is of another evaluation ({why}); delete it to begin again, or move it"
        )

    @property
    def note(self) -> str:
        """A sentence where the verdicts were found under several conditions; empty otherwise."""
        parts = [(f"sitting {i}", each) for i, each in enumerate(self._conditions, 1)]
        return f"the verdicts were {said}" if (said := spoken(parts)) else ""

    def open(self, label: str, correct: Tensor) -> tuple[Tensor, Tensor, Tensor, int, int, Tally]:
        """Where an attack is to begin.

        Args:
            label: the attack's name.
            correct: (N,) which examples are still correctly classified, if the attack has not begun.

        Returns:
            before: (N,) which examples were correct before the attack.
            stands: (N,) which are correct so far.
            decided: (N,) on which of them the attack decides.
            done: how many of those in ``before`` are done.
            rejected: how many successes failed the final check.
            tally: what came of work that was left out.
        """
        if f"{label}.before" not in self._entries:
            return correct, correct.clone(), torch.zeros_like(correct), 0, 0, Tally()
        done, rejected, *tally = self._entries[f"{label}.counts"].tolist()
        before, stands, decided = (self._entries[f"{label}.{part}"] for part in _PARTS)
        return before, stands.clone(), decided.clone(), done, rejected, Tally(*tally)

    def keep(
        self,
        label: str,
        before: Tensor,
        stands: Tensor,
        decided: Tensor,
        done: int,
        rejected: int,
        tally: Tally,
    ) -> None:
        """Note how far an attack is, and write the file."""
        if self.path is None:
            return
        parts = dict(zip(_PARTS, (before, stands, decided), strict=True))
        self._entries |= {f"{label}.{part}": tensor for part, tensor in parts.items()}
        self._entries[f"{label}.counts"] = torch.tensor([done, rejected, *tally.counts])
        conditions = [each.plain() for each in self._conditions]
        write_tensors(self.path, self._entries, {_KEY: self.key, "conditions": conditions})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        metadata, entries = read_checked(path)
    except InputError as error:
        raise InputError(f"state: {error}; delete {path} to begin again") from None
    return metadata, dict(entries)


def evaluation_key(model: nn.Module, x: Tensor, y: Tensor, settings: object) -> str:
    """A hash of the weights, the examples, the predictions for some of them, and the settings as printed."""
    printed = re.sub(r" at 0x[0-9a-f]+", "", repr(settings))
    digest = hashlib.blake2b(printed.encode(), digest_size=16)
    for name, tensor in [*model.state_dict().items(), ("x", x), ("y", y)]:
        if not isinstance(tensor, Tensor):  # a quantised network has other things among its weights
            digest.update(repr((name, tensor)).encode())
            continue
        digest.update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(bytes_of(tensor))
    # Two networks may have the same weights and still compute different things.
    with quiet(model), torch.no_grad():
        predictions = model(x[:_COMPARED].to(device_of(model, x.device))).argmax(1)
    digest.update(predictions.cpu().numpy().tobytes())
    return digest.hexdigest()
