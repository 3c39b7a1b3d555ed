"""Adapters of the package peft in linear layers, which are merged into the weights afterwards."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semirobust.adapters.replace import replaced_modules
from semirobust.core.errors import InputError
from semirobust.core.packages import imported
from semirobust.core.seed import Seed
from semirobust.layers.freeze import stays_in_eval

__all__ = ["Adapted", "Kind", "PeftAdapters"]

Kind = Literal["lora", "dora", "loha", "lokr", "ia3"]
"""Adapters of peft for linear layers that start as the identity and can be merged."""

_INSIDE = "adapter."


class Adapted(nn.Linear):
    """A linear layer that computes what its ``adapter`` does, a module of peft around the layer itself.

    It is a linear layer by its class, so that a layer map counts it, with all that is inside it, as one.
    """

    adapter: Any

    @classmethod
    def of(cls, linear: nn.Linear, adapter: nn.Module) -> "Adapted":
        """The layer that has the place of ``linear``."""
        # Made without `__init__`, which would draw weights from the global generator.
        made = cls.__new__(cls)
        made.__dict__.update({**linear.__dict__, "_parameters": {}, "_modules": {}})
        made.adapter = adapter
        return made

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The frozen weight of the layer itself."""
        return self.adapter.get_base_layer().weight

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """Its bias."""
        return self.adapter.get_base_layer().bias

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter(x)


class PeftAdapters:
    """Adapters of one kind for the linear layers of a model; what they learned, once it has left them.

    Args:
        kind: as in :data:`Kind`.
        rank: of each update; ``ia3`` has none.
        alpha: the update counts alpha / rank times.
        dropout: the chance that a value is left out on its way into the update in train mode.
    """

    def __init__(self, kind: Kind, rank: int, alpha: float, dropout: float) -> None:
        self.kind, self.rank, self.alpha, self.dropout = kind, rank, alpha, dropout
        self._adapted: dict[str, Adapted] = {}  # under every name that a layer has

    @contextmanager
    def inside(self, model: nn.Module, names: Sequence[str], seed: Seed) -> Iterator[None]:
        """Inside, the modules of these names have adapters, and nothing else of ``model`` trains.

        On leaving, the adapters are merged into the weights, the original modules are back, and
        ``requires_grad`` is as it was. Statistics of norms stay.

        Raises:
            InputError: peft is not installed, or a module is not a plain linear layer.
        """
        for name in names:
            if type(module := model.get_submodule(name)) is not nn.Linear:
                raise InputError(
                    f"layer {name}: expected a plain linear layer, got {type(module).__name__}; lora updates"
                    " convolutions too"
                )
        peft = imported("peft", "peft", "method")
        flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        model.requires_grad_(False)
        self._adapted = {}
        still = [m for m in model.modules() if next(m.buffers(recurse=False), None) is not None]
        try:
            made = {n: self._made(peft, model.get_submodule(n), seed / n) for n in names}
            with replaced_modules(model, made), stays_in_eval(still):
                everywhere = model.named_modules(remove_duplicate=False)
                self._adapted = {name: module for name, module in everywhere if isinstance(module, Adapted)}
                yield
        finally:
            for module in dict.fromkeys(self._adapted.values()):
                # The original module is the one that the adapter is around.
                own = module.adapter.get_base_layer().parameters()
                for parameter, value in zip(own, _merged(module), strict=True):
                    parameter.data.copy_(value)
            for parameter, flag in flags:
                parameter.requires_grad_(flag)

    @torch.no_grad()
    def merged(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict taken inside :meth:`inside`, with the adapters merged into the weights."""
        result = dict(state)
        for name, module in self._adapted.items():
            start = f"{name}.{_INSIDE}"
            inner = {key[len(start) :]: result.pop(key) for key in state if key.startswith(start)}
            trained = copy.deepcopy(module)
            trained.adapter.load_state_dict(inner)
            names = [part for part, _ in module.adapter.get_base_layer().named_parameters()]
            values = (value.to(next(iter(inner.values())).device) for value in _merged(trained))
            result |= {f"{name}.{part}": value for part, value in zip(names, values, strict=True)}
        return result

    def _made(self, peft: Any, linear: nn.Module, seed: Seed) -> Adapted:
        assert isinstance(linear, nn.Linear)
        # Alone in a module, so that no name of another layer can match.
        holder = nn.ModuleDict({"layer": linear})
        with seed.globally():
            peft.inject_adapter_in_model(self._config(peft), holder)
        return Adapted.of(linear, holder["layer"])

    def _config(self, peft: Any) -> Any:
        target: dict[str, Any] = {"target_modules": ["layer"]}
        if self.kind == "ia3":
            return peft.IA3Config(**target, feedforward_modules=[])
        if self.kind in ("lora", "dora"):
            return peft.LoraConfig(
                **target,
                r=self.rank,
                lora_alpha=self.alpha,
                lora_dropout=self.dropout,
                use_dora=self.kind == "dora",
            )
        config = peft.LoHaConfig if self.kind == "loha" else peft.LoKrConfig
        return config(**target, r=self.rank, alpha=self.alpha, module_dropout=self.dropout)


def _merged(module: Adapted) -> list[Tensor]:
    """The weight, and the bias where there is one, with the adapter merged into them; ``module`` stays."""
    adapter = copy.deepcopy(module.adapter)
    adapter.merge()
    return [parameter.detach() for parameter in adapter.get_base_layer().parameters()]
