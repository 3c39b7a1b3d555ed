"""One network under test, and the three ways in which a function can fail on it."""

import copy
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import semirobust as sr
from stress.zoo.network import Network, images_for, logits_of

__all__ = [
    "Case",
    "Crashed",
    "OutOfTime",
    "Refused",
    "Wrong",
    "bare",
    "expect",
    "noised",
    "product",
    "spread",
    "tensors",
]


class Wrong(Exception):
    """The function gave something that is not so."""


class Refused(Exception):
    """The function refused in one sentence."""


class Crashed(Exception):
    """The function ended in an error that is no refusal."""


class OutOfTime(BaseException):
    """More processor time than there is for a cell; no ``except Exception`` stops it."""


@contextmanager
def product() -> Iterator[None]:
    """Inside, errors are the library's; outside of such blocks they are this script's own."""
    try:
        yield
    except sr.InputError as error:
        if "\n" in str(error):
            raise Crashed(f"refusal of several lines: {str(error).splitlines()[0][:150]}") from error
        raise Refused(str(error)) from error
    except (Wrong, Refused, Crashed):
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "semirobust" in f.filename]
        place = f"{frames[-1].filename.rpartition('semirobust/')[2]}:{frames[-1].lineno}" if frames else "?"
        text = (str(error).strip().splitlines() or [""])[0][:200]
        raise Crashed(f"{type(error).__name__}: {text} ({place})") from error


def expect(holds: object, sentence: str) -> None:
    """Raise :class:`Wrong` with this sentence unless it holds."""
    if not holds:
        raise Wrong(sentence)


@dataclass
class Case:
    """A network with images and labels; everything is made when it is first asked for.

    Attributes:
        network: what it is.
        epsilon: of the l-infinity ball, chosen so that a plain attack fools some examples.
    """

    network: Network
    epsilon: float = 8 / 255
    _attacked: dict[float, Tensor] = field(default_factory=dict)

    @cached_property
    def raw(self) -> nn.Module:
        """The network as its maker gives it."""
        return self.network.make()

    @cached_property
    def model(self) -> nn.Module:
        """What the library is handed: the network, adapted where its maker says so."""
        return self.handed(self.raw)

    def handed(self, raw: nn.Module) -> nn.Module:
        """``raw`` as the library is handed it."""
        if self.network.adapt is None:
            return raw
        with product():
            if not hasattr(sr, "as_classifier"):
                raise sr.InputError("as_classifier: not there yet")
            return sr.as_classifier(raw, **self.network.adapt).eval()

    def fresh(self) -> nn.Module:
        """Another copy of what the library is handed, which a test may change."""
        try:
            return self.handed(copy.deepcopy(self._pattern))
        except Refused:
            raise
        except Exception:  # what cannot be copied is built again
            return self.handed(self.network.make())

    @cached_property
    def _pattern(self) -> nn.Module:
        model = self.network.make()
        # Some compute tables of positions in their first pass; no function is to blame for those.
        with torch.no_grad():
            model(self.x[: self.network.batch or 2].clone())
        return model

    @cached_property
    def x(self) -> Tensor:
        """(N, ...) images."""
        return images_for(self.network)

    @cached_property
    def x_adv(self) -> Tensor:
        """(N, ...) images with noise of the signs of a coin."""
        signs = torch.randn(self.x.shape, generator=torch.Generator().manual_seed(3)).sign()
        return (self.x + 8 / 255 * signs.to(self.x)).clamp(0, 1)

    @cached_property
    def y(self) -> Tensor:
        """(N,) what the network says of the images."""
        with torch.no_grad():
            return self.logits(self.raw, self.x).argmax(1)

    @property
    def mixed(self) -> Tensor:
        """(N,) labels of which there are two in equal number."""
        return torch.arange(len(self.x)) % 2

    @property
    def rows(self) -> int:
        """How many images go through the network at once."""
        return self.network.batch or len(self.x)

    @property
    def batched(self) -> dict[str, int]:
        """The batch size, for functions that take one, where the network wants a certain one."""
        return {"batch_size": self.network.batch} if self.network.batch else {}

    def logits(self, raw: nn.Module, x: Tensor) -> Tensor:
        """(N, C) logits by this script alone, with gradients; of one logit, 0 and it."""
        torch.manual_seed(0)
        parts = [logits_of(raw(part.clone())) for part in x.split(self.rows)]
        logits = torch.cat(parts)
        return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits

    def objective(self, raw: nn.Module, x: Tensor) -> Tensor:
        """(N, C) what cross entropy is computed from."""
        logits = self.logits(raw, x)
        output = (self.network.adapt or {}).get("output", "")
        return logits.clamp_min(1e-30).log() if output == "probabilities" else logits

    @cached_property
    def layers(self) -> Any:
        """The layer map."""
        with product():
            return sr.layer_map(self.model, self.x[: self.network.batch or 2])

    def state(self) -> str:
        """A digest of all that a measuring function must leave as it was."""
        parts: list[object] = []
        for name, value in self.raw.state_dict().items():
            plain = isinstance(value, Tensor) and not value.is_quantized and value.dim()
            flat = value.detach().contiguous().view(torch.uint8).numpy() if plain else repr(value).encode()
            parts.append((name, zlib.crc32(flat)))
        for name, module in self.raw.named_modules():
            with suppress(AttributeError):  # of a scripted module
                hooks = len(module._forward_hooks), len(module._forward_pre_hooks)
                parts.append((name, module.training, hooks, "forward" in module.__dict__))
        for name, parameter in self.raw.named_parameters():
            parts.append((name, parameter.requires_grad, parameter.grad is None))
        parts.append(torch.equal(images_for(self.network), self.x))
        return repr(parts)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Inside, neither network nor images may change; a refusal may not change them either."""
        before = self.state()
        try:
            yield
        except Refused:
            expect(self.state() == before, "the network or its images changed before it was refused")
            raise
        expect(self.state() == before, "the network or its images are not as they were before")


def bare(model: nn.Module) -> nn.Module:
    """What a compiled module was made from, whose names layers and parameters have."""
    return getattr(model, "_orig_mod", model)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copies of its parameters and buffers, by name."""
    found = (*bare(model).named_parameters(), *bare(model).named_buffers())
    return {name: tensor.detach().clone() for name, tensor in found}


def spread(items: Any, count: int) -> list[Any]:
    """At most ``count`` of the items, evenly spread, the first and the last among them."""
    items = list(items)
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


@contextmanager
def noised(model: nn.Module, name: str) -> Iterator[bool]:
    """Inside, the weights of the module, or the parameter, of that name are noise three times as large.

    Gives whether there are any.
    """
    parameters = dict(bare(model).named_parameters(remove_duplicate=False))
    own = [p for key, p in parameters.items() if key == name or key.startswith(f"{name}.")]
    chosen = [p for p in own if p.is_floating_point() and p.dim() >= 2]
    before = [p.detach().clone() for p in chosen]
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in chosen:
            scale = float(p.double().std()) or p[0].numel() ** -0.5
            p.copy_(3 * scale * torch.randn(p.shape, generator=generator).to(p))
    try:
        yield bool(chosen)
    finally:
        with torch.no_grad():
            for p, old in zip(chosen, before, strict=True):
                p.copy_(old)
