"""The weight layers of any module, numbered in the order in which they run."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from torch import Tensor, nn

from semirobust.core.checks import check_floating
from semirobust.core.classifiers import on_classifiers
from semirobust.core.errors import InputError
from semirobust.core.plain import anywhere
from semirobust.layers.graph import graph_of, members
from semirobust.layers.layer import Layer, LayerMap, LeftOut
from semirobust.layers.macs import macs_of
from semirobust.layers.plan import FILTERED, MIXED, Plan, Shapes
from semirobust.layers.sites import WEIGHT_LAYERS
from semirobust.layers.trace import Run, Site, traced

__all__ = ["Layer", "LayerMap", "LeftOut", "layer_map"]

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@anywhere
@on_classifiers("model", layers=True)
def layer_map(
    model: nn.Module,
    x: Tensor,
    *,
    count_projections: bool = False,
    filter: Callable[[str], bool] | str | None = None,
    rename: Callable[[str], str] | Mapping[str, str] | None = None,
) -> LayerMap:
    """Number the weight layers of ``model`` by running it on the first example of ``x``.

    A weight layer is a convolution, linear, recurrent or multi-head attention module, or a linear function of
    parameters that belong to none of these. Layers are numbered in the order in which they run.

    The layers form a graph: autograd tells which layer's output reaches which input; where a part of the
    model has no gradient, noise in a layer's output tells it. The feature F_i of layer i is the input of the
    first later layer that depends on it, which is that of layer i+1 where one layer follows another, and the
    place where branches meet where layers run beside each other; where no layer comes behind it, the logits.

    - The projection of a shortcut belongs to the last layer of the path to which it is added, so a ResNet-18
      has 18 layers. It is known by what it does: it is added to a path of more layers from the same place and
      has no activation.
    - A gate belongs to the layer whose output it scales: squeeze and excitation, attention over positions.
    - A norm belongs to the last layer that its input depends on. Parameters of a module with layers inside,
      such as a class token, belong to the next layer that runs (``Layer.tokens``). Matrices of functions that
      are known as no layer, such as distances, do too (``LayerMap.beside``). A module that runs several
      times counts once, where it first runs.
    - A layer that no image reaches at any call, or that does not reach the logits by a gradient, is left out
      (``LayerMap.left_out``), as is one whose features cannot be divided into examples.

    Args:
        model: any module; mode, parameters and buffers stay as they are.
        x: an input batch (N, ...); only its shape, type and device matter.
        count_projections: number projections as layers too, as the code of the semirobustness paper does.
        filter: which layers to number, by name: a function, or a regular expression to search for.
        rename: the name to show of each layer, by its name: a function or a dictionary.

    Raises:
        InputError: ``x`` is no floating-point batch, the model cannot run on it, or no weight layer ran.
    """
    check_floating(x)
    one = x[:1].detach()
    run = traced(model, one)
    if not run.sites:
        raise InputError(
            f"model: expected a convolution or linear module to run, found none in {type(model).__name__}"
        )
    plan = Plan(run, graph_of(model, one, run), count_projections)
    plan.leave_out(lambda site: None if _wanted(site.name, filter) else FILTERED)
    shapes = Shapes.of(model, one, run)
    # What one layer loses may become the feature of another, so look until nothing changes.
    while mixed := [number for number in plan.mains if not plan.divides(number, shapes)]:
        plan.left_out |= dict.fromkeys(mixed, MIXED)
    if not plan.mains:
        reasons = "; ".join(dict.fromkeys(plan.left_out.values()))
        raise InputError(f"model: expected a weight layer between image and logits, found none ({reasons})")
    return _assembled(model, run, plan, shapes, rename)


def _wanted(name: str, chosen: Callable[[str], bool] | str | None) -> bool:
    if chosen is None:
        return True
    return re.search(chosen, name) is not None if isinstance(chosen, str) else bool(chosen(name))


def _assembled(
    model: nn.Module,
    run: Run,
    plan: Plan,
    shapes: Shapes,
    rename: Callable[[str], str] | Mapping[str, str] | None,
) -> LayerMap:
    mains = plan.mains
    index = {number: position for position, number in enumerate(mains, 1)}
    names = [plan.sites[number - 1].name for number in mains]
    ends = _block_ends(model, names)
    modules, claimed = _owners(model, run, plan)
    named = dict(model.named_modules())
    canonical = {id(parameter): name for name, parameter in model.named_parameters()}
    label = rename if callable(rename) else (rename or {}).get
    layers, seen = [], set()
    for number in mains:
        site, (place, key) = plan.sites[number - 1], plan.place(number)
        batch_dim, feature_shape = shapes.batch_dim(place, key)
        output_dim, output_shape = shapes.batch_dim(number, None)
        parts = [plan.sites[part - 1] for part in plan.parts(number)]
        raw = [name for part in parts for name in part.parameters]
        direct = _direct_parameters(named, modules.get(number, ()), canonical)
        parameters = [n for n in (*raw, *direct) if n not in seen and (n in raw or n not in claimed)]
        seen.update(parameters)
        layers.append(
            Layer(
                index=index[number],
                name=site.name,
                kind=site.kind,
                feature_shape=feature_shape,
                output_shape=output_shape,
                modules=tuple(modules.get(number, ())),
                parameters=tuple(dict.fromkeys(parameters)),
                block=ends[site.name][0],
                ends_block=ends[site.name][1],
                batch_dim=batch_dim,
                output_batch_dim=output_dim,
                feature_at=index.get(place, len(mains) + 1),
                feature_key=key,
                before=index.get(plan.before(number), 0),
                weights=_weights(site, canonical, model),
                linear=_of_site(site, canonical),
                tokens=_tokens(named, modules.get(number, ()), canonical, parameters),
                functional=site.parameters,
                macs=sum(_macs(part, model) for part in parts),
                label=label(site.name) or "",
                projections=tuple(
                    plan.sites[part - 1].name
                    for part in plan.parts(number)
                    if part != number and part in plan.graph.projections
                ),
            )
        )
    left_out = tuple(
        LeftOut(site.name, site.kind, reason, _of_site(site, canonical))
        for number, reason in sorted(plan.left_out.items())
        for site in [plan.sites[number - 1]]
    )
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return LayerMap(
        tuple(layers),
        tuple(name for name in sizes if name not in seen),
        left_out,
        sizes,
        beside=_beside(model, run, canonical, seen),
        shared=_shared(named, canonical, run),
    )


def _beside(model: nn.Module, run: Run, canonical: Mapping[int, str], names: Iterable[str]) -> dict[str, str]:
    """Those of the parameters that are matrices of a function that is no site -> the function."""
    computed = {name for site in run.sites.values() for name in _of_site(site, canonical)}
    shapes = {name: model.get_parameter(name).shape for name in names if name in run.matrices}
    return {
        name: run.matrices[name]
        for name in sorted(shapes.keys() - computed)
        if sum(size > 1 for size in shapes[name]) > 1
    }


def _shared(named: Mapping[str, nn.Module], canonical: Mapping[int, str], run: Run) -> tuple[str, ...]:
    """The weight layers of whose parameters a function takes one, or another module."""
    holders = Counter(id(p) for module in named.values() for p in module.parameters(recurse=False))
    return tuple(
        name
        for name, module in named.items()
        if isinstance(module, WEIGHT_LAYERS)
        and any(holders[id(p)] > 1 or canonical[id(p)] in run.taken for p in module.parameters(recurse=False))
    )


def _of_site(site: Site, canonical: Mapping[int, str]) -> tuple[str, ...]:
    """The parameters of a site itself, with those of modules inside it."""
    inner = () if site.module is None else site.module.parameters()
    return tuple(dict.fromkeys((*site.parameters, *(canonical[id(p)] for p in inner))))


def _weights(site: Site, canonical: Mapping[int, str], model: nn.Module) -> tuple[str, ...]:
    names = _of_site(site, canonical)
    return tuple(name for name in names if model.get_parameter(name).dim() > 1)


def _macs(site: Site, model: nn.Module) -> float:
    given = next(iter(site.arguments.values()), None)
    if site.result is None or given is None:
        return 0.0
    if site.module is not None:
        matrices = [p for p in site.module.parameters() if p.dim() > 1]
        return macs_of(site.module, matrices, given, site.result)
    return macs_of(None, [model.get_parameter(name) for name in site.parameters], given, site.result)


def _owners(model: nn.Module, run: Run, plan: Plan) -> tuple[dict[int, list[str]], set[str]]:
    """For each layer the modules that belong to it; and the parameters that functions use by themselves."""
    modules: dict[int, list[str]] = {}
    names = {id(module): name for name, module in model.named_modules()}
    mains = plan.mains
    entries: list[tuple[int, int, str]] = []  # order, layer, module
    for number, site in enumerate(plan.sites, 1):
        if site.module is not None and number not in plan.left_out:
            inner = [names[id(m)] for m in site.module.modules()]
            entries += [(number, plan.owner(number), name) for name in inner]
    for name, (count, _) in run.others.items():
        around = any(isinstance(child, WEIGHT_LAYERS) for child in model.get_submodule(name).modules())
        if around:
            owner = next((number for number in mains if number > count), mains[-1])
        else:
            owner = plan.owner(max(members(plan.graph.others[name]), default=count) or mains[0])
        if owner not in plan.left_out:
            entries.append((count, owner, name))
    for _, owner, name in sorted(entries, key=lambda entry: entry[0]):
        modules.setdefault(owner, []).append(name)
    claimed = {name for site in plan.sites for name in site.parameters}
    return modules, claimed


def _block_ends(model: nn.Module, order: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Layer name -> its block, and whether it is the last layer of the block."""
    # A class that occurs once is the whole network or a stage; containers are stages of blocks.
    named = dict(model.named_modules())
    occurrences = Counter(type(module) for module in named.values())
    several = Counter(prefix for name in order for prefix in _enclosing(name))
    # A stage has a container of blocks, which may itself occur more than once.
    stages = set()
    for prefix, layers in several.items():
        container = prefix.rpartition(".")[0]
        repeated = layers > 1 and occurrences[type(named[prefix])] > 1
        if container and repeated and isinstance(named[container], _CONTAINERS):
            stages.add(container.rpartition(".")[0])
    result = {}
    for name in order:
        block, last = name, name
        for prefix in _enclosing(name):
            inside = [layer for layer in order if layer.startswith(prefix + ".")]
            repeated = occurrences[type(named[prefix])] > 1 and not isinstance(named[prefix], _CONTAINERS)
            if len(inside) > 1 and repeated and prefix not in stages:
                block, last = prefix, inside[-1]
                break
        result[name] = (block, last == name)
    return result


def _enclosing(name: str) -> Iterator[str]:
    """Names of the modules around ``name``, the smallest first, without the model itself."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _tokens(
    named: dict[str, nn.Module], modules: Iterable[str], canonical: dict[int, str], among: Sequence[str]
) -> tuple[str, ...]:
    """Of the direct parameters of these modules the tokens and embeddings of positions ``among`` those given.

    A token is (1, tokens, D), an embedding of positions (1, positions, D) or of a module of its own. Scales,
    temperatures and tables of relative positions have no such first dimension.
    """
    found = []
    for module in (named[name] for name in modules):
        if isinstance(module, nn.Embedding):
            found.append(canonical[id(module.weight)])
        elif not isinstance(module, WEIGHT_LAYERS) and any(
            isinstance(inner, WEIGHT_LAYERS) for inner in module.modules()
        ):
            shapes = {canonical[id(p)]: p.shape for p in module.parameters(recurse=False)}
            found += [n for n, shape in shapes.items() if len(shape) > 2 and shape[0] == 1 < shape[-1]]
    return tuple(name for name in dict.fromkeys(found) if name in among)


def _direct_parameters(
    named: dict[str, nn.Module], modules: Iterable[str], canonical: dict[int, str]
) -> tuple[str, ...]:
    """Names of the parameters of these modules without their sub-modules, as ``model.named_parameters()``
    gives them.
    """
    names = (canonical[id(p)] for name in modules for p in named[name].parameters(recurse=False))
    return tuple(dict.fromkeys(names))
