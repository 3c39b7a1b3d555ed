"""Which network a run folder speaks of."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from semirobust.core.budget import BUDGET, read_json
from semirobust.core.classifiers import unwrapped
from semirobust.core.errors import InputError
from semirobust.core.files import opened
from semirobust.core.tensor_files import bytes_of
from semirobust.experiments.run_files import SETTINGS_FILE
from semirobust.records.schema import Settings, parse_record
from semirobust.records.store import stage_files

__all__ = ["WEIGHTS", "check_same_network", "networks_in", "settings_in", "weights_in", "weights_of"]

WEIGHTS = "weights"
"""The entry of settings that says of which weights a number is."""


def weights_of(model: nn.Module) -> str:
    """Twelve hex digits of the SHA-256 of all weights and buffers, by name; the device does not matter."""
    return weights_in(unwrapped(model).state_dict())


def weights_in(state: Mapping[str, object]) -> str:
    """As :func:`weights_of`, of a state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            plain = value.detach().cpu()
            plain = plain.dequantize() if plain.is_quantized else plain
            flat = plain.to_dense() if plain.layout is not torch.strided else plain
            digest.update(bytes_of(flat))
    return digest.hexdigest()[:12]


def networks_in(folder: Path) -> dict[str, str]:
    """Weights -> name of the networks that a run folder holds or has numbers of, as far as it says so."""
    found = {}
    try:
        content = read_json(folder / SETTINGS_FILE)
        found[str(content[WEIGHTS])] = str(content["model"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no run, or one from before weights were noted
    for _, _, file in stage_files(folder):
        settings = settings_in(file)
        if settings is not None and WEIGHTS in settings.settings:
            model = settings.settings.get("model")
            name = model.get("name") if isinstance(model, dict) else None
            found.setdefault(str(settings.settings[WEIGHTS]), str(name or "a network"))
    return found


def settings_in(file: Path) -> Settings | None:
    """The first settings in a file of records."""
    try:
        with opened(file, most=BUDGET.record_bytes) as lines:
            while line := lines.readline(BUDGET.record):
                if b'"kind":"settings"' in line:
                    record = parse_record(line)
                    return record if isinstance(record, Settings) else None
    except (OSError, ValueError, InputError):
        return None
    return None


def check_same_network(folder: Path, model: nn.Module, name: str) -> str:
    """The weights of ``model``, whose numbers may go into ``folder``.

    Raises:
        InputError: it holds another network, or numbers of another.
    """
    weights, known = weights_of(model), networks_in(folder)
    if known and weights not in known:
        other, its = next(iter(known.items()))
        raise InputError(
            f"out: {folder} holds {its} with other weights ({other}) than the {name} of now ({weights}), and"
            " one report of two networks would mix them; choose another folder, and name both for `report`"
        )
    return weights
