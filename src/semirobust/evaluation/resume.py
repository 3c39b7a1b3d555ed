"""The state of an evaluation in a file, so that an interrupted one can be resumed."""

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.tensor_files import bytes_of, read_metadata, read_tensors, write_tensors
from semirobust.layers.quiet import device_of, quiet
from semirobust.records.origin import code_version

__all__ = ["Ledger", "evaluation_key"]

_COMPARED = 64  # examples whose predictions are part of the key


class Ledger:
    """For each attack: which examples were correct before it, which are correct so far, on which of them the
    attack decides, how many are done, and how many successes failed the final check.

    Args:
        path: the state file; None keeps nothing. An evaluation resumes from a file that exists.
        key: of the evaluation; the file of another one is refused.

    Raises:
        InputError: the file cannot be read, or is of another evaluation.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        if path is not None and path.suffix != ".safetensors":
            raise InputError(f"state: expected a name that ends in .safetensors, got {path}")
        self.path, self.key = path, key
        self._entries: dict[str, Tensor] = {}
        if path is not None and path.is_file():
            if read_metadata(path).get("evaluation") != key:
                raise InputError(
                    f"state: {path} is of another evaluation (model, data or settings differ); delete or"
                    " move it"
                )
            self._entries = read_tensors(path)

    def open(self, label: str, correct: Tensor) -> tuple[Tensor, Tensor, Tensor, int, int]:
        """Where an attack is to begin.

        Args:
            label: the attack's name.
            correct: (N,) which examples are still correctly classified, if the attack has not begun.

        Returns:
            before: (N,) which examples were correct before the attack.
            after: (N,) which are correct so far.
            decided: (N,) on which of them the attack decides.
            done: how many of those in ``before`` are done.
            rejected: how many successes failed the final check.
        """
        if f"{label}.before" not in self._entries:
            return correct, correct.clone(), torch.zeros_like(correct), 0, 0
        done, rejected = self._entries[f"{label}.counts"].tolist()
        before, after, decided = (self._entries[f"{label}.{part}"] for part in ("before", "after", "decided"))
        return before, after.clone(), decided.clone(), done, rejected

    def keep(
        self, label: str, before: Tensor, after: Tensor, decided: Tensor, done: int, rejected: int
    ) -> None:
        """Note how far an attack is, and write the file."""
        if self.path is None:
            return
        self._entries |= {
            f"{label}.before": before,
            f"{label}.after": after,
            f"{label}.decided": decided,
            f"{label}.counts": torch.tensor([done, rejected]),
        }
        write_tensors(self.path, self._entries, {"evaluation": self.key})


def evaluation_key(model: nn.Module, x: Tensor, y: Tensor, settings: object) -> str:
    """A hash of the weights, the examples, the predictions for some of them, the settings as printed, and the
    version of the code.
    """
    printed = re.sub(r" at 0x[0-9a-f]+", "", repr(settings))
    digest = hashlib.blake2b(f"{code_version()} {printed}".encode(), digest_size=16)
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
