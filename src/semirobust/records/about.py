"""What a record speaks of, in fields."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypedDict

from pydantic import ConfigDict

__all__ = ["About", "Fields", "When"]

When = Literal["start", "end"]
"""Before or after training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What a number, finding or picture was measured for. A field is None where it does not apply.

    Attributes:
        run: name of the run folder among several that are read together.
        network: of a study, the network and data that its runs start from.
        unit: of a study, one run of that network.
        variant: of a study, which variant of a run.
        training: of a study, how its network was trained.
        size: of a study, which of a family of networks, from 0.
        arm: one of the ways that are compared.
        other: the arm that ``arm`` is compared with.
        seed, trial: number of the seed, and of the trial within it.
        protocol: which images decide in a recovery: ``holdout`` or ``paper``.
        epoch: of training, from 1; 0 for what was measured before it.
        when: before or after training.
        layer: index of the layer, from 1.
        feature: index of the feature in its layer, from 0.
        parameter: name of a parameter.
        measure: a measure by its name in the registry, or a free name with ``Quantity.OTHER``.
        part: which of the numbers of a measure, such as ``null`` or ``excess``; None for its main one.
        estimator: what estimated the measure, where there is a choice.
        on: the layer that ``layer`` is compared with.
        form, scale, place, first: options of criticality: its form, its scale, where features are taken,
            and what that of the first layer is.
        k: how many layers are chosen.
        batch: images in a batch.
        attack: its name; ``clean`` for none, ``worst`` for all attacks together.
        cumulative: the attack counts together with those of its threat model that ran before it.
        threat: what the attack was allowed to do.
        norm, epsilon: of the ball, where it varies.
        source, target: the models that examples were made for, and that see them.
        level: of pruning, from 0.
        suffix: how many layers the suffix has that trains.
        prefix: whose prefix the suffix stands behind, where that is not the robust network's.
        tuned_layer: the single layer that an arm trains.
        loss_form, loss_weight: form and weight of the term that an arm adds to its loss.
        converged: whether any trial came back to the reference.
        check: name of a sanity check.
        fooled: whether the attack changed the class.
    """

    run: str | None = None
    network: str | None = None
    unit: str | None = None
    variant: str | None = None
    training: str | None = None
    size: int | None = None
    arm: str | None = None
    other: str | None = None
    seed: int | None = None
    trial: int | None = None
    protocol: str | None = None
    epoch: int | None = None
    when: When | None = None
    layer: int | None = None
    feature: int | None = None
    parameter: str | None = None
    measure: str | None = None
    part: str | None = None
    estimator: str | None = None
    on: int | None = None
    form: str | None = None
    scale: str | None = None
    place: str | None = None
    first: str | None = None
    k: int | None = None
    batch: int | None = None
    attack: str | None = None
    cumulative: bool | None = None
    threat: str | None = None
    norm: str | None = None
    epsilon: float | None = None
    source: str | None = None
    target: str | None = None
    level: int | None = None
    suffix: int | None = None
    prefix: str | None = None
    tuned_layer: int | None = None
    loss_form: str | None = None
    loss_weight: float | None = None
    converged: bool | None = None
    check: str | None = None
    fooled: bool | None = None

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Fields(TypedDict, total=False):
    """The fields of :class:`About` as keywords, so that a misspelt one does not type-check.

    A field that is left out may have any value; None asks for records without it.
    """

    run: str | None
    network: str | None
    unit: str | None
    variant: str | None
    training: str | None
    size: int | None
    arm: str | None
    other: str | None
    seed: int | None
    trial: int | None
    protocol: str | None
    epoch: int | None
    when: When | None
    layer: int | None
    feature: int | None
    parameter: str | None
    measure: str | None
    part: str | None
    estimator: str | None
    on: int | None
    form: str | None
    scale: str | None
    place: str | None
    first: str | None
    k: int | None
    batch: int | None
    attack: str | None
    cumulative: bool | None
    threat: str | None
    norm: str | None
    epsilon: float | None
    source: str | None
    target: str | None
    level: int | None
    suffix: int | None
    prefix: str | None
    tuned_layer: int | None
    loss_form: str | None
    loss_weight: float | None
    converged: bool | None
    check: str | None
    fooled: bool | None
