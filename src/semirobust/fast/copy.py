"""A copy of a network that gives the same logits sooner, and keeps up with a network in training."""

import copy

import torch
from torch import Tensor, nn

from semirobust.adapters.low_rank import effective_weights, merge_updates
from semirobust.adapters.twin_norm import adaptive_alone
from semirobust.core.errors import InputError
from semirobust.core.seed import Seed
from semirobust.core.text import first_line
from semirobust.fast.attention import quicken_attention
from semirobust.fast.fold import fold_batch_norm, fold_input_scale, run_before
from semirobust.fast.max_pool import quicken_pooling
from semirobust.fast.narrow_conv import quicken_narrow
from semirobust.fast.strided_conv import Strided, quicken_strided
from semirobust.layers.map import layer_map
from semirobust.layers.quiet import works_in_place

__all__ = ["Faster", "has_bfloat16"]


class Faster:
    """Neighbouring layers merged, channels last, and on request bfloat16 behind the first layer.

    Batch norm in eval mode is folded into the convolution before it, the scale of the normalisation into the
    one behind it, and on a CPU narrow strided convolutions and those of one or two channels get a faster
    gradient where there is one, 2x2 maxima are taken in two steps, and attention has its gradient in full
    precision. The first layer stays in full precision, because bfloat16 cannot tell pixels apart that differ
    by less than 1/255. Names of modules are kept, so a layer map of the network describes the copy too.

    Attributes:
        network: the copy, in eval mode, without parameter gradients; its logits are floats.
        description: what was done, in words.

    Args:
        model: what to copy; it is never changed.
        x: (N, K, H, W) images like those to come; one forward pass of one image finds what can be merged.
        dtype: ``torch.float32`` or ``torch.bfloat16``.

    Raises:
        InputError: the model has no convolutions or overwrites its input, or the copy does not run.
    """

    def __init__(self, model: nn.Module, x: Tensor, dtype: torch.dtype) -> None:
        self._model = model
        self.network = copy.deepcopy(model).eval().requires_grad_(False)
        merge_updates(self.network)
        adaptive_alone(self.network)
        if not any(isinstance(module, nn.Conv2d) for module in self.network.modules()):
            raise InputError("model: expected convolutions, found none")
        if works_in_place(self.network, x[:1]):
            raise InputError("model: expected one that leaves its input alone")
        self._norms, self._scale = fold_batch_norm(self.network, x), fold_input_scale(self.network, x)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if x.device.type == "cpu":
            quicken_strided(self.network)
            quicken_narrow(self.network)
            quicken_pooling(self.network)
        done = [f"{len(self._norms)} batch norms folded"] * bool(self._norms)
        done += ["normalisation folded"] * bool(self._scale) + ["channels last"]
        if dtype != torch.float32:
            self._lower(x, dtype)
            if x.device.type == "cpu":
                quicken_attention(self.network, x)
        self._try_out(x)
        done.append("full precision" if dtype == torch.float32 else "bfloat16 behind the first layer")
        self.description = ", ".join(done)

    def _try_out(self, x: Tensor) -> None:
        """Run it forward and backward on images in its layout, as an attack will."""
        z = x[:2].detach().contiguous(memory_format=torch.channels_last).clone().requires_grad_()
        try:
            with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
                logits = self.network(z)
                if logits.requires_grad:
                    torch.autograd.grad(logits.logsumexp(1).sum(), z)
        except Exception as error:  # a network can fail in any way on what it was not made for
            raise InputError(f"it does not run ({first_line(error)})") from error

    def _lower(self, x: Tensor, dtype: torch.dtype) -> None:
        fast = self.network
        first = fast.get_submodule(layer_map(fast, x)[0].name)
        before = run_before(fast, first, x)
        for module in fast.modules():
            if module is not first and module not in before:
                for name, parameter in module.named_parameters(recurse=False):
                    setattr(module, name, nn.Parameter(parameter.to(dtype), requires_grad=False))
                for name, buffer in module.named_buffers(recurse=False):
                    if buffer.is_floating_point():
                        setattr(module, name, buffer.to(dtype))
        first.register_forward_hook(lambda module, args, output: output.to(dtype))
        fast.register_forward_hook(lambda module, args, output: output.float())

    @torch.no_grad()
    def refresh(self, source: nn.Module | None = None) -> None:
        """Take over the weights and statistics that the model has now, or those of ``source``, a model of the
        same build.
        """
        model = self._model if source is None else source
        merged = {name for pair in self._norms for name in pair}
        given = _tensors(model)
        for name, tensor in _tensors(self.network).items():
            if name in given and name.rpartition(".")[0] not in merged:
                tensor.copy_(given[name])
        for conv, norm in self._norms:
            weight, bias = _fused(model, conv, norm)
            target = self.network.get_submodule(conv)
            assert isinstance(target, nn.Conv2d) and target.bias is not None
            target.weight.copy_(weight)
            target.bias.copy_(bias)
        if self._scale is not None:
            conv, scale = self._scale
            target = self.network.get_submodule(conv)
            assert isinstance(target, nn.Conv2d)
            target.weight.mul_(scale[:, None, None])
        for module in self.network.modules():
            if isinstance(module, Strided):
                module.refresh()

    @torch.no_grad()
    def follows(self, x: Tensor) -> bool:
        """Whether, with other weights and statistics drawn at random, it still computes what the model would.

        Fresh batch norms are nearly the identity and hide much; whatever else was merged wrongly shows here
        too."""
        other, generator = copy.deepcopy(self._model).eval(), Seed(("follows",)).generator()
        norms = [module for module in other.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        statistics = [
            buffer
            for module in norms
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]
        for tensor in (*other.parameters(), *statistics):  # other buffers are constants
            noise = torch.rand(tensor.shape, generator=generator).to(tensor)
            tensor.mul_(0.7 + 0.6 * noise).add_(0.1 * noise.square())
        self.refresh(other)
        mine, theirs = self.network(x), other(x)
        self.refresh()
        return bool(
            ((mine - theirs).abs().amax(1) <= 1e-2 * (theirs.amax(1) - theirs.mean(1)).clamp_min(1e-6)).all()
        )


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under every name that they have."""
    parameters, buffers = (
        model.named_parameters(remove_duplicate=False),
        model.named_buffers(remove_duplicate=False),
    )
    return {**dict(parameters), **dict(buffers), **effective_weights(model)}


def _fused(model: nn.Module, conv: str, norm: str) -> tuple[Tensor, Tensor]:
    first, second = model.get_submodule(conv), model.get_submodule(norm)
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    mean, variance = second.running_mean, second.running_var
    assert mean is not None and variance is not None
    weight = effective_weights(first).get(".weight", first.weight)
    return nn.utils.fuse_conv_bn_weights(
        weight, first.bias, mean, variance, second.eps, second.weight, second.bias
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor computes in bfloat16 rather than imitating it."""
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
