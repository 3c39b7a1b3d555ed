"""What an evaluation has found so far, kept in a file so that it can be taken up again."""

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

_LOOKED_AT = 64


class Ledger:
    """For each attack: who stood before it, who stands so far, how many of them are done, how many successes
    were refused.

    Args:
        path: the state file; None keeps nothing. One that exists is taken up.
        key: of the evaluation; another one's file is refused.

    Raises:
        InputError: a file that cannot be read, or of another evaluation.
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

    def open(self, label: str, standing: Tensor) -> tuple[Tensor, Tensor, int, int]:
        """Who stood before the attack, who stands so far (N,), how many are done, how many successes were
        refused.
        """
        if f"{label}.before" not in self._entries:
            return standing, standing.clone(), 0, 0
        done, refused = self._entries[f"{label}.counts"].tolist()
        return self._entries[f"{label}.before"], self._entries[f"{label}.stands"].clone(), done, refused

    def keep(self, label: str, before: Tensor, stands: Tensor, done: int, refused: int) -> None:
        """Note how far an attack is, and write the file."""
        if self.path is None:
            return
        self._entries |= {
            f"{label}.before": before,
            f"{label}.stands": stands,
            f"{label}.counts": torch.tensor([done, refused]),
        }
        write_tensors(self.path, self._entries, {"evaluation": self.key})


def evaluation_key(model: nn.Module, x: Tensor, y: Tensor, settings: object) -> str:
    """A hash of the weights, the examples, what the model says of some, the settings as printed, and the
    version of the code.
    """
    printed = re.sub(r" at 0x[0-9a-f]+", "", repr(settings))
    digest = hashlib.blake2b(f"{code_version()} {printed}".encode(), digest_size=16)
    for name, tensor in [*model.state_dict().items(), ("x", x), ("y", y)]:
        digest.update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(bytes_of(tensor))
    with quiet(model), torch.no_grad():  # two networks may have the same weights
        said = model(x[:_LOOKED_AT].to(device_of(model, x.device))).argmax(1)
    digest.update(said.cpu().numpy().tobytes())
    return digest.hexdigest()
