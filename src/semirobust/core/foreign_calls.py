"""Calls as other libraries have them: which call here is meant."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "FOREIGN_METHODS",
    "FOREIGN_NAMES",
    "attack_call",
    "called_as",
    "missing_method",
    "shows_attack",
    "shows_ball",
    "shows_objective",
]

P = ParamSpec("P")
R = TypeVar("R")

_EVALUATE = "sr.evaluate(model, x, y, sr.PGD(sr.Linf(8/255), steps=20))"
_MODEL = "sr.as_classifier(model, mean=..., std=...), where the model does not normalise images itself"
_IMAGES = "x, y = sr.load_data('cifar10').test.first(1000).all()"
FOREIGN_NAMES: Mapping[str, str] = {
    # foolbox
    "LinfPGD": "sr.PGD(sr.Linf(8/255), steps=40)",
    "LinfProjectedGradientDescentAttack": "sr.PGD(sr.Linf(8/255), steps=40)",
    "L2PGD": "sr.PGD(sr.L2(0.5), steps=40)",
    "L2ProjectedGradientDescentAttack": "sr.PGD(sr.L2(0.5), steps=40)",
    "L1PGD": "sr.PGD(sr.L1(12), steps=40)",
    "LinfBasicIterativeAttack": "sr.PGD(sr.Linf(8/255), steps=10, random_start=False)",
    "LinfFastGradientAttack": "sr.FGSM(sr.Linf(8/255))",
    "L2FastGradientAttack": "sr.FGSM(sr.L2(0.5))",
    "PyTorchModel": _MODEL,
    "accuracy": "sr.evaluate(model, x, y).summary()['clean']",
    "samples": _IMAGES,
    # torchattacks
    "BIM": "sr.PGD(sr.Linf(8/255), steps=10, random_start=False)",
    "PGDL2": "sr.PGD(sr.L2(0.5), steps=10)",
    "FFGSM": "sr.PGD(sr.Linf(8/255), steps=1, step_size=10/255)",
    "RFGSM": "sr.PGD(sr.Linf(8/255), steps=1, step_size=4/255)",
    "APGDT": "sr.APGD(sr.Linf(8/255), loss='dlr-targeted')",
    "MultiAttack": "sr.evaluate(model, x, y, [sr.FGSM(ball), sr.PGD(ball)], worst_case=True).worst",
    # ART
    "ProjectedGradientDescent": "sr.PGD(sr.Linf(8/255), steps=100, step_size=2/255)",
    "ProjectedGradientDescentPyTorch": "sr.PGD(sr.Linf(8/255), steps=100, step_size=2/255)",
    "FastGradientMethod": "sr.FGSM(sr.Linf(8/255))",
    "BasicIterativeMethod": "sr.PGD(sr.Linf(8/255), steps=10, random_start=False)",
    "AutoProjectedGradientDescent": "sr.APGD(sr.Linf(8/255))",
    "SquareAttack": "sr.Square(sr.Linf(8/255))",
    "PyTorchClassifier": _MODEL,
    "AdversarialTrainer": "sr.harden(model, images, 'adversarial', threat=sr.Linf(8/255), epochs=30)",
    # RobustBench
    "clean_accuracy": "sr.evaluate(model, x, y).summary()['clean']",
    "benchmark": "sr.evaluate(model, x, y, sr.AutoAttack(sr.Linf(8/255)), worst_case=True)",
    "load_cifar10": _IMAGES,
    "load_cifar100": "x, y = sr.load_data('cifar100').test.first(1000).all()",
    "load_model": "sr.build_model and sr.load_checkpoint, or semirobust evaluate robustbench:NAME in a shell",
    # AutoAttack, MAIR and others
    "run_standard_evaluation": "sr.evaluate(model, x, y, sr.AutoAttack(sr.Linf(8/255)))",
    "AT": "sr.harden(model, images, 'adversarial', threat=sr.Linf(8/255), epochs=30)",
    "RobModel": _MODEL,
    "attack": _EVALUATE,
    "Attack": _EVALUATE,
    "fit": "sr.harden(model, images, 'adversarial', threat=sr.Linf(8/255), epochs=30)",
}
"""A name of another library -> the call here."""

_CALLED = (
    "attack(model, x, y, seed=0) gives x_adv, and sr.evaluate(model, x, y, attack) the accuracy under it"
)
FOREIGN_METHODS: Mapping[str, str] = {
    "run_standard_evaluation": "sr.evaluate(model, x, y, attack).summary()",
    "run_standard_evaluation_individual": "sr.evaluate(model, x, y, attack.parts).summary()",
    "generate": "attack(model, x, y, seed=0)",
    "run": "attack(model, x, y, seed=0)",
    "forward": "attack(model, x, y, seed=0)",
    "attack": "attack(model, x, y, seed=0)",
    "set_mode_targeted_by_label": "attack.towards(model, x, target)",
    "set_mode_targeted_by_function": "sr.Targeted(attack, function)",
    "set_mode_targeted_random": "sr.Targeted(attack, 'random')",
    "set_mode_targeted_least_likely": "sr.Targeted(attack, 'least-likely')",
    "set_mode_default": "attack(model, x, y)",
    "set_normalization_used": "sr.as_classifier(model, mean=..., std=...), which is then attacked",
    "set_device": "attack(model, x, y), which runs where the model and x are",
    "set_model": "attack(model, x, y), which is told the model",
    "set_params": "dataclasses.replace(attack, steps=20)",
    "save": "torch.save(attack(model, x, y), 'x_adv.pt')",
}
"""A method of attacks of other libraries -> the call here."""

_RADIUS = ("eps", "epsilon", "epsilons", "max_norm")
_STEP = ("alpha", "eps_step", "eps_iter", "step", "stepsize", "abs_stepsize", "lr")
_STEPS = ("steps", "max_iter", "nb_iter", "n_iter", "iters", "num_steps", "n_steps")
_RESTARTS = ("n_restarts", "num_random_init", "restarts")
_START = ("random_start", "rand_init", "rand_start")
_PRESET = ("version", "preset")
_BALLS = {"linf": "Linf", "inf": "Linf", "l2": "L2", "2": "L2", "l1": "L1", "1": "L1"}


def attack_call(
    name: str, fields: Mapping[str, Any], arguments: tuple[Any, ...], given: Mapping[str, Any]
) -> str:
    """The call here that is meant by one of another library.

    Args:
        name: of the class.
        fields: what it takes here.
        arguments, given: what it was given by position and by name.
    """
    named = dict(zip(("eps", "alpha", "steps"), filter(_is_number, arguments), strict=False)) | dict(given)
    norm = _BALLS.get(str(named.get("norm", "linf")).lower().removesuffix(".0"), "Linf")
    radius = _first(named, _RADIUS)
    parts = [f"sr.{norm}({_number(radius if _is_number(radius) else 8 / 255)})"]
    for ours, theirs in (("steps", _STEPS), ("step_size", _STEP), ("restarts", _RESTARTS)):
        value = _first(named, theirs)
        if ours in fields and _is_number(value):
            parts.append(f"{ours}={_number(value)}")
    if "random_start" in fields and _first(named, _START) is False:
        parts.append("random_start=False")
    preset = _first(named, _PRESET)
    if "preset" in fields and preset in ("plus", "rand"):
        parts.append(f"preset={preset!r}")
    return f"sr.{name}({', '.join(parts)})"


def shows_attack(cls: Any) -> None:
    """Let a class of attacks say the call here where it is made as in another library: with its model, or
    with a radius in place of a threat model.
    """
    _shows(cls, lambda *call: f"attack = {attack_call(cls.__name__, *call)}, and then {_CALLED}")


def shows_objective(cls: Any) -> None:
    """As :func:`shows_attack`, of objectives."""

    def call(fields: Mapping[str, Any], arguments: tuple[Any, ...], given: Mapping[str, Any]) -> str:
        own = [f"{key}={value!r}" for key, value in given.items() if key in fields]
        radius = _first(given, _RADIUS)
        ball = f"sr.Linf({_number(radius if _is_number(radius) else 8 / 255)})"
        made = f"sr.{cls.__name__}({', '.join(own)})"
        return f"sr.harden(model, images, 'adversarial', threat={ball}, objective={made}, epochs=30)"

    _shows(cls, call)


def shows_ball(cls: Any) -> None:
    """As :func:`shows_attack`, of norm balls."""

    def call(fields: Mapping[str, Any], arguments: tuple[Any, ...], given: Mapping[str, Any]) -> str:
        radius = _first(given, _RADIUS)
        return f"sr.{cls.__name__}({_number(radius if _is_number(radius) else 8 / 255)})"

    _shows(cls, call)


def _shows(cls: Any, call: Callable[..., str]) -> None:
    original = cls.__init__

    def meant(own: Any, arguments: tuple[Any, ...], given: Mapping[str, Any]) -> str:
        fields = inspect.signature(own).parameters
        unknown = [name for name in given if name not in fields]
        has_model = any(hasattr(value, "named_parameters") for value in (*arguments, *given.values()))
        if not (unknown or has_model):
            return ""
        said = "does not take the model when it is made" if has_model else f"takes no {unknown[0]}"
        return f"{own.__name__} {said}; the call is {call(fields, arguments, given)}"

    @wraps(original)
    def made(self: Any, *arguments: Any, **given: Any) -> None:
        try:
            original(self, *arguments, **given)
        except (TypeError, ValueError):
            if text := meant(cls, arguments, given):
                raise TypeError(text) from None
            raise

    cls.__init__, cls._meant = made, classmethod(meant)


def called_as(call: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function whose ``TypeError`` for wrong arguments ends with the right ``call``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{error}; the call is {call}") from None
            return function(*args, **kwargs)

        return run

    return decorate


def missing_method(kind: str, name: str) -> str:
    """What to say of an attribute that attacks of other libraries have; else the sentence of Python."""
    known = f"; the call is {FOREIGN_METHODS[name]}" if name in FOREIGN_METHODS else ""
    return f"{kind!r} object has no attribute {name!r}{known}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _first(named: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    value = next((named[name] for name in names if named.get(name) is not None), None)
    return next(iter(value), None) if isinstance(value, list | tuple) else value


def _number(value: float) -> str:
    """A number as it is written in code: a fraction of 255 where it is one."""
    if isinstance(value, int):
        return str(value)
    in_bytes = value * 255
    if (
        0 < value < 1
        and abs(in_bytes - round(in_bytes)) < 1e-6
        and round(in_bytes) > 0
        and value * 100 % 1 > 1e-9
    ):
        return f"{round(in_bytes)}/255"
    return f"{value:g}"
