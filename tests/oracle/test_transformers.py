"""Transformers of four makers: their layers by block, what trains of one, the fast copy and curvature."""

import copy
import importlib.util

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import profile

import semirobust as sr
from semirobust.core.errors import InputError
from semirobust.core.seed import as_seed
from semirobust.fast.copy import has_bfloat16
from semirobust.fast.policy import fast_copy, fast_model
from semirobust.methods import METHODS
from semirobust.selection import SELECTIONS

SMALL = {"img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10}
PLAIN = {**SMALL, "embed_dim": 16, "depth": 2, "num_heads": 2}


def _ours():
    return sr.build_model("vit_small", width=1 / 16, in_channels=1, image_size=8, patch=2, depth=2)


def _timm(name, **options):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    return timm.create_model(name, pretrained=False, **options)


def _swin(name):
    stages = {"embed_dim": 16, "depths": (1, 2), "num_heads": (2, 4), "window_size": 2}
    return _timm(name, **{**SMALL, "patch_size": 1, **stages})


def _transformers(name, **more):
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    import transformers

    sides = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = getattr(transformers, f"{name}Config")(**sides, **(more or sizes))
    return getattr(transformers, f"{name}ForImageClassification")(config)


def _torchvision(swin):
    pytest.importorskip(
        "torchvision", reason="torchvision is not installed", exc_type=(ImportError, RuntimeError)
    )
    from torchvision.models.swin_transformer import SwinTransformer
    from torchvision.models.vision_transformer import VisionTransformer

    if swin:
        model = SwinTransformer([1, 1], 16, [1, 2], [2, 4], [2, 2], num_classes=10)
        model.features[0][0] = nn.Conv2d(1, 16, 1)
        return model
    model = VisionTransformer(8, 2, 2, 2, 16, 32, num_classes=10)
    model.conv_proj = nn.Conv2d(1, 16, 2, 2)
    nn.init.normal_(model.heads.head.weight)  # they begin as 0
    return model


SWIN = {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 2}
MAKERS = {
    "ours": _ours,
    "timm-vit": lambda: _timm("vit_tiny_patch16_224", **PLAIN),
    "timm-vit-scaled": lambda: _timm(
        "vit_tiny_patch16_224", **PLAIN, init_values=0.5, qk_norm=True, reg_tokens=2
    ),
    "timm-deit": lambda: _timm("deit_tiny_distilled_patch16_224", **PLAIN),
    "timm-swin": lambda: _swin("swin_tiny_patch4_window7_224"),
    "timm-swin-v2": lambda: _swin("swinv2_tiny_window8_256"),
    "transformers-vit": lambda: _transformers("ViT"),
    "transformers-swin": lambda: _transformers("Swin", **SWIN),
    "torchvision-vit": lambda: _torchvision(False),
    "torchvision-swin": lambda: _torchvision(True),
}
EVERY = pytest.mark.parametrize("name", MAKERS)
X = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 10


def _made(name):
    with as_seed(0).globally():
        model = MAKERS[name]()
        with torch.no_grad():  # as trained: no weight, token or table is 0 or 1 throughout
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def _logits(model, x):
    output = model(x)
    return output if isinstance(output, torch.Tensor) else output.logits


# Two blocks, or stages of one block and two: what runs in each of them, between the patches and the heads.
QKV = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
SEPARATE = (*(f"attention.{n}_proj" for n in "qkvo"), "mlp.fc1", "mlp.fc2")
BLOCKS = {
    "ours": ("network.blocks.{}.", ("attention.qkv", "attention.out", "fc1", "fc2"), "01"),
    "timm-vit": ("blocks.{}.", QKV, "01"),
    "timm-vit-scaled": ("blocks.{}.", QKV, "01"),
    "timm-deit": ("blocks.{}.", QKV, "01"),
    "timm-swin": ("layers.{}.", QKV, ["0.blocks.0", "1.blocks.0", "1.blocks.1"]),
    "timm-swin-v2": ("layers.{}.", QKV, ["0.blocks.0", "1.blocks.0", "1.blocks.1"]),
    "transformers-vit": ("vit.layers.{}.", SEPARATE, "01"),
    "transformers-swin": ("swin.encoder.layers.{}.", SEPARATE, ["0.blocks.0", "1.blocks.0", "1.blocks.1"]),
    "torchvision-vit": ("encoder.layers.encoder_layer_{}.", ("self_attention", "mlp.0", "mlp.3"), "01"),
    "torchvision-swin": ("features.{}.", ("attn.qkv", "attn.proj", "mlp.0", "mlp.3"), ["1.0", "3.0", "3.1"]),
}
MERGING = {
    "timm-swin": "layers.1.downsample.reduction",
    "timm-swin-v2": "layers.1.downsample.reduction",
    "transformers-swin": "swin.encoder.layers.0.downsample.reduction",
    "torchvision-swin": "features.2.reduction",
}
HEADS = {"timm-deit": ["head", "head_dist"], "timm-swin": ["head.fc"], "timm-swin-v2": ["head.fc"]}


@EVERY
def test_layers_are_those_of_attention_and_perceptron_block_by_block(name):
    layers = sr.layer_map(_made(name), X)
    prefix, inside, blocks = BLOCKS[name]
    expected = [[prefix.format(block) + layer for layer in inside] for block in blocks]
    if name in MERGING:
        expected.insert(1, [MERGING[name]])
    expected = [layer for block in expected for layer in block]
    names = [layer.name for layer in layers]
    assert names[1:-1] == (expected + HEADS.get(name, [])[:-1])
    assert [layers.at(i).name for i in layers.classifier] == HEADS.get(name, names[-1:])
    # The sums behind attention and perceptron are the ends; torchvision's ViT has one block for both.
    ends = [layers.at(i).name for i in layers.block_ends if i not in layers.classifier]
    both = [prefix.format(block) + layer for block in blocks for layer in (inside[-3], inside[-1])]
    assert set(both) - set(ends) <= {n for n in both if name == "torchvision-vit"}
    if name in MERGING:
        merging = layers[names.index(MERGING[name])]
        assert merging.block == merging.name and merging.ends_block


TOKENS = {
    "ours": {"network.token", "network.positions"},
    "timm-vit": {"cls_token", "pos_embed"},
    "timm-vit-scaled": {"cls_token", "pos_embed", "reg_token"},
    "timm-deit": {"cls_token", "pos_embed", "dist_token"},
    "transformers-vit": {"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"},
    "torchvision-vit": {"class_token", "encoder.pos_embedding"},
}


@EVERY
def test_tokens_are_told_from_norms_scales_and_tables(name):
    layers = sr.layer_map(_made(name), X)
    assert {n for layer in layers for n in layer.tokens} == TOKENS.get(name, set())
    model = _made(name)
    for layer in layers:
        module = model.get_submodule(layer.name)
        assert {f"{layer.name}.{n}" for n, _ in module.named_parameters()} <= set(layer.linear)
        assert not set(layer.linear) & set(layer.tokens) and set(layer.linear) <= set(layer.parameters)


def _moved(model, **options):
    before = copy.deepcopy(model.state_dict())
    attack = sr.PGD(sr.Linf(0.05), steps=1)
    sr.harden(model, (X, Y), attack=attack, epochs=1, batch_size=16, learning_rate=0.1, **options)
    # Bit by bit, so that a frozen weight may not even change its sign of zero.
    return {n for n, t in model.state_dict().items() if not torch.equal(_bits(t), _bits(before[n]))}


def _bits(tensor):
    return tensor.view(torch.uint8) if tensor.dim() else tensor


@EVERY
def test_of_an_attention_layer_trains_what_was_asked_for_and_not_a_bit_else(name):
    model = _made(name)
    layers = sr.layer_map(model, X)
    prefix, inside, blocks = BLOCKS[name]
    chosen = next(x for x in layers if x.name == prefix.format(blocks[-1]) + inside[0])
    own = {f"{chosen.name}.{n}" for n, _ in model.get_submodule(chosen.name).named_parameters()}
    if name == "timm-swin-v2":  # its biases are beside the module
        own |= {chosen.name.replace("qkv", f"{n}_bias") for n in "qv"}
    options = {"method": "selected", "layers": [chosen.index]}
    assert _moved(copy.deepcopy(model), trains="weights+biases", **options) == own
    assert _moved(copy.deepcopy(model), trains="biases", **options) <= {
        n for n in chosen.parameters if n.endswith("bias")
    }
    everything = _moved(copy.deepcopy(model), **options)
    assert own <= everything == set(chosen.parameters)
    beside = {n.rpartition(".")[2] for n in everything - own}
    expected = {
        "timm-vit-scaled": {"weight", "bias"},  # of the norms of query and key
        "timm-swin": {"relative_position_bias_table"},
        "torchvision-swin": {"relative_position_bias_table"},
        "timm-swin-v2": {"logit_scale"},
        "torchvision-vit": {"weight", "bias"},  # of the norm behind
    }
    assert beside == expected.get(name, set())


@pytest.mark.parametrize("name", TOKENS)
def test_tokens_and_positions_move_only_when_asked_for(name):
    model = _made(name)
    layers = sr.layer_map(model, X)
    first = [layer.index for layer in layers if layer.tokens]
    for trains in ("layer", "weights+biases", "weights", "biases"):
        moved = _moved(copy.deepcopy(model), method="selected", layers=first, trains=trains)
        assert moved and not moved & TOKENS[name]
    moved = _moved(copy.deepcopy(model), method="selected", layers=first, trains="layer+tokens")
    assert moved >= TOKENS[name]
    assert moved == set(layers.parameters(first))
    assert _moved(copy.deepcopy(model), method="adversarial") >= TOKENS[name]


# Those of Swin and of Swin V2 are written out, but for that of transformers.
WRITTEN_OUT = ("timm-swin", "timm-swin-v2", "torchvision-swin")


@EVERY
def test_the_fast_copy_is_used_agrees_and_keeps_fused_attention(name):
    model = sr.as_classifier(_made(name), mean=[0.5], std=[0.25])
    form, full = fast_model(model, X), fast_copy(model, X)
    assert form.is_copy and full.follows(X[:8])
    with torch.no_grad():
        truth = model(X)
        torch.testing.assert_close(full.network(X), truth, rtol=1e-4, atol=1e-5)
        assert torch.equal(form.fooled(form.logits(X), X, Y), truth.argmax(1) != Y)
        # Networks this small are attacked in full precision; larger ones have this copy.
        if has_bfloat16(X.device):
            error = (fast_copy(model, X, torch.bfloat16).network(X) - truth).abs().amax(1)
            assert float((error / (truth.amax(1) - truth.mean(1))).median()) < 0.05
    with profile() as seen:
        full.network(X[:2].clone().requires_grad_())
    fused = "aten::scaled_dot_product_attention" in {event.key for event in seen.key_averages()}
    assert fused == (name not in WRITTEN_OUT)


@EVERY
def test_curvature_is_the_gradient_of_half_the_squared_distance(name):
    model = _made(name)
    layers, x = sr.layer_map(model, X), X[:4]
    x_adv = (x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    found = sr.criticality(model, x, Y[:4], x_adv=x_adv, form="curvature", scale="paper")
    prefix, _, blocks = BLOCKS[name]
    for layer in (x for x in layers if x.name.startswith(prefix.format(blocks[-1]))):
        place = layers.at(layer.feature_at).name
        if name == "torchvision-swin" and place.endswith("attn.proj"):
            continue  # a function has its weight, and no hook sees its input
        seen = []
        # By a hook of one's own, so that nothing of the library takes part.
        handle = model.get_submodule(place).register_forward_pre_hook(
            lambda m, args, seen=seen: seen.append(args[0])
        )
        z = x_adv.clone().requires_grad_()
        model(z), model(x)
        handle.remove()
        change = seen[0] - seen[1].detach()
        (gradient,) = torch.autograd.grad(change.square().sum() / 2, z)
        lengths = gradient.flatten(1).norm(dim=1) / (x_adv - x).flatten(1).norm(dim=1)
        expected = float(lengths.mean()) / (change.numel() / len(x))
        np.testing.assert_allclose(found.weakness[layer.index - 1], expected, rtol=2e-3)


def test_both_heads_of_a_distilled_network_are_its_classifier():
    model = _made("timm-deit")
    layers = sr.layer_map(model, X)
    heads = {f"{head}.{part}" for head in ("head", "head_dist") for part in ("weight", "bias")}
    trained = sr.harden(copy.deepcopy(model), (X, Y), "clat", threat=sr.Linf(0.05), epochs=1, k=9)
    assert not set(trained.logs[0].layers) & set(layers.classifier)
    # Linear probing trains both heads, and nothing else.
    probed = METHODS.make("lp-ft", {"probe": 1})
    choice = probed.plan(_context(layers)).trainable(0, model, as_seed(0))
    before = copy.deepcopy(model.state_dict())
    with sr.only_trainable(model, layers, choice.layers):
        _logits(model, X).square().sum().backward()
        assert {n for n, p in model.named_parameters() if p.grad is not None} == heads
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def _context(layers):
    from semirobust.data.base.given import given_images
    from semirobust.methods import Context

    return Context(layers, given_images((X, Y)), sr.PGD(sr.Linf(0.05), steps=1))


OPTIONS = {"suffix": {"layers": 3}, "clat": {"form": "curvature"}}


METHODS_BY_LAYER = ["clat", "safer", "at-lr", "lap", "latter", "suffix", "lora", "bitfit", "lp-ft", "rift"]
OTHERS = ["timm-swin", "transformers-vit", "torchvision-vit"]


@pytest.mark.parametrize(
    ("name", "method"),
    [(name, method) for name in ("ours", "timm-deit") for method in METHODS_BY_LAYER]
    + [(name, method) for name in OTHERS for method in ("clat", "safer")],
)
def test_methods_by_layer_train_transformers(name, method):
    model = _made(name)
    options = OPTIONS.get(method, {})
    before = copy.deepcopy(model.state_dict())
    attack = sr.PGD(sr.Linf(0.05), steps=1)
    trained = sr.harden(
        model, (X, Y), method, attack=attack, epochs=2, batch_size=32,
        validate=lambda network, seed: {"clean": 0.5, "robust": 0.5}, **options,
    )  # fmt: skip
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.isfinite(t).all() for t in after.values())
    moved = {n for n in after if not torch.equal(after[n], before[n])}
    assert np.isfinite(trained.logs[-1].loss) and (moved or method == "rift")
    if method in ("clat", "safer", "suffix", "lora", "bitfit", "rift"):
        assert not moved & TOKENS.get(name, set())


def test_tokens_cost_nothing_since_they_do_not_train():
    from semirobust.selection.base.costs import shares_of

    model = _made("ours")
    layers = sr.layer_map(model, X)
    tokens = sum(model.get_parameter(n).numel() for n in TOKENS["ours"])
    total = sum(p.numel() for p in model.parameters()) - tokens
    patches = sum(model.get_parameter(n).numel() for n in layers[0].parameters) - tokens
    shares = shares_of(layers, "parameters")
    assert shares[1] == pytest.approx(patches / total) and sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("selection", ["budget", "cumulative", "knapsack"])
@pytest.mark.parametrize("name", ["ours", "timm-swin"])
def test_selections_by_cost_choose_layers_of_transformers(name, selection):
    assert selection in SELECTIONS.names()
    model = _made(name)
    layers = sr.layer_map(model, X)
    share = 0.2
    trained = sr.harden(
        model, (X, Y), "selected", attack=sr.PGD(sr.Linf(0.05), steps=1), epochs=1, selection=selection,
        share=share,
    )  # fmt: skip
    chosen = trained.logs[0].layers
    assert chosen and not set(chosen) & set(layers.classifier)
    if selection != "cumulative":
        size = sum(layers.sizes[n] for n in layers.parameters(chosen))
        assert size <= share * sum(layers.sizes[n] for n in layers.parameters(layers.indices))


@pytest.mark.parametrize("name", ["torchvision-swin", "timm-swin-v2"])
@pytest.mark.parametrize("method", ["lora", "autolora-ours"])
def test_updates_of_a_module_whose_weight_a_function_takes_are_refused(name, method):
    # They would stay as they were, and nothing would tell.
    with pytest.raises(InputError, match="attn.qkv: expected a weight that acts in its own module alone"):
        sr.harden(_made(name), (X, Y), method, threat=sr.Linf(0.05), epochs=1)


def test_lora_refuses_attention_that_is_one_module():
    with pytest.raises(InputError, match="self_attention: expected a plain convolution or linear layer"):
        sr.harden(_made("torchvision-vit"), (X, Y), "lora", threat=sr.Linf(0.05), epochs=1)


def test_a_part_that_there_is_not_is_refused_with_those_that_there_are():
    model = _made("ours")
    expected = "expected layer, layer\\+tokens, weights\\+biases, weights or biases, got 'tokens'"
    with (
        pytest.raises(InputError, match=expected),
        sr.only_trainable(model, sr.layer_map(model, X), [1], part="tokens"),
    ):
        pass
