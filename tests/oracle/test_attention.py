"""Attention in the fast copy in half precision: its gradient is taken in full precision."""

import pytest
import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode

import semirobust as sr
from semirobust.fast.copy import Faster

X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FUSED = "aten::_scaled_dot_product_flash_attention_for_cpu"


class Multihead(nn.Module):
    """Attention as PyTorch's own module has it, which calls it where no function mode looks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.linear = nn.Linear(16, 4)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.linear(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


class Fused(TorchDispatchMode):
    """The types of what fused attention and its gradient are given."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, set[torch.dtype]] = {"forward": set(), "backward": set()}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().startswith(FUSED):
            self.found["backward" if "backward" in func.name() else "forward"].add(args[0].dtype)
        return func(*args, **(kwargs or {}))


def vit():
    return sr.build_model("vit_small", 4, 1 / 16, image_size=16, depth=2)


def gradient(network, x):
    z = x.clone().requires_grad_()
    return torch.autograd.grad(network(z).logsumexp(1).sum(), z)[0]


@pytest.mark.parametrize(("make", "fused"), [(vit, {torch.float32}), (Multihead, set())])
def test_a_gradient_goes_through_attention_in_full_precision(make, fused):
    torch.manual_seed(0)
    model = make().eval()
    network = Faster(model, X, torch.bfloat16).network
    with Fused() as seen:
        found = gradient(network, X)
    assert seen.found == {"forward": fused, "backward": fused}
    true = gradient(model, X)
    assert torch.cosine_similarity(found.flatten(), true.flatten(), 0) > 0.99


def test_without_a_gradient_it_stays_in_half_precision():
    network = Faster(vit().eval(), X, torch.bfloat16).network
    with Fused() as seen, torch.no_grad():
        network(X)
    assert seen.found == {"forward": {torch.bfloat16}, "backward": set()}


def test_networks_without_attention_and_copies_in_full_precision_are_left_alone():
    for model, dtype in ((sr.build_model("resnet8", 4, 0.25), torch.bfloat16), (vit(), torch.float32)):
        assert not Faster(model.eval(), X, dtype).network._forward_pre_hooks


def test_nothing_is_left_behind_where_the_network_fails():
    network = Faster(vit().eval(), X, torch.bfloat16).network
    with pytest.raises(RuntimeError):
        network(X[..., :8])
    assert not _get_current_function_mode_stack()
