"""What is said where no weights of a checkpoint fit a network."""

import difflib

from semirobust.core.stored import Content
from semirobust.models.base.fitting import Target, Trial, trials

__all__ = ["misfit"]

_SHOWN = 3
_COMPARED = 200  # names, for those that are spelled alike; more would take long


def misfit(targets: list[Target], content: Content) -> str:
    """Why the weights fit no part of the model, for the part, the place and the prefix that come nearest."""
    best = max((trial for stored in content.stored for trial in trials(targets, stored)), key=_nearness)
    under = f" under {best.place!r}" if best.place else ""
    parts = []
    if best.unfit:
        shown = [f"{name} {text}" for name, text in list(best.unfit.items())[:_SHOWN]]
        more = f" ({len(best.unfit)} such)" if len(best.unfit) > _SHOWN else ""
        parts.append(f"{', '.join(shown)}{more}")
    if best.missing or best.unknown:
        counts = [
            f"{len(names)} {what} (first: {', '.join(shown)})"
            for names, shown, what in (
                (best.missing, _with_nearest(best), "missing"),
                (best.unknown, best.unknown[:_SHOWN], "unknown"),
            )
            if names
        ]
        parts.append(f"its entries{under} are {' and '.join(counts)}")
    text = "; ".join(parts) or "it has no entries"
    other = [f"{name} ({kind})" for name, kind in (best.stored.other or {}).items()][:_SHOWN]
    beside = f"; beside them lie {', '.join(other)}, which are no tensors" if other and best.missing else ""
    hint, kind = "", type(targets[0].module)
    if best.missing and best.unknown and kind.__module__.startswith("transformers."):
        # Its releases name the modules of one network differently, and keep to the first names in files.
        hint = (
            f"; transformers gives entries other names as it reads them, so read this file by"
            f" {kind.__name__}.from_pretrained(FOLDER), or name the network hf:FOLDER"
        )
    if any("parametrizations." in name for name in best.unknown):
        hint = (
            "; torch.nn.utils.parametrize.remove_parametrizations makes plain weights of parametrised ones,"
            " in the code that made the file"
        )
    return f"expected weights that fit {kind.__name__}, but {text}{beside}{hint}"


def _nearness(trial: Trial) -> tuple[int, int, int]:
    common = trial.target.expected.keys() & trial.filled.keys()
    return len(common) - len(trial.unfit), len(common), -len(trial.unknown)


def _with_nearest(trial: Trial) -> list[str]:
    """The first missing names, each with the unknown one of its shape, else of any, that is spelled most
    alike.
    """
    shown = []
    for name in trial.missing[:_SHOWN]:
        shape = trial.target.expected[name].shape
        same = [n for n in trial.unknown if not trial.filled[n].is_nested and trial.filled[n].shape == shape]
        last = [n for n in same if n.rpartition(".")[2] == name.rpartition(".")[2]]
        near = difflib.get_close_matches(name, (last or same)[:_COMPARED], 1, cutoff=0)
        near = near or difflib.get_close_matches(name, trial.unknown[:_COMPARED], 1)
        shown.append(f"{name}, nearest {near[0]}" if near else name)
    return shown
