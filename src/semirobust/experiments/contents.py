"""What a run folder has, in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semirobust.experiments.identity import settings_in
from semirobust.records.store import stage_files

__all__ = ["contents"]


def contents(folder: Path) -> list[str]:
    """A clause for each set of records in ``folder``, such as ``evaluate (fgsm, pgd-20x2; 500 images)``."""
    found = []
    for stage, _, file in stage_files(folder):
        settings = settings_in(file)
        if settings is None:
            # An audit has no settings of its own; its plan is beside it.
            name = stage.partition("-")[2] or stage
            found.append(name if name == "audit" or not file.stat().st_size else f"{name} (damaged)")
            continue
        said = _about(settings.stage, settings.settings)
        found.append(f"{settings.stage} ({said})" if said else settings.stage)
    return list(dict.fromkeys(found))


def _about(stage: str, settings: Mapping[str, Any]) -> str:
    """What distinguishes the numbers of one command from others of it."""
    section = settings.get(stage)
    if not isinstance(section, Mapping):
        return ""
    names = section.get("attacks") if stage == "evaluate" else section.get("measures")
    names = names if isinstance(names, list) else [section["method"]] if "method" in section else []
    parts = [", ".join(map(str, names))] if names else []
    if isinstance(examples := section.get("examples"), int):
        parts.append(f"{examples:,} images at most")
    threat = settings.get("threat")
    if stage == "evaluate" and isinstance(threat, Mapping):
        radius = threat.get("epsilon")
        parts.append(f"{threat.get('norm')} {radius:.4g}" if isinstance(radius, float) else "")
    return "; ".join(filter(None, parts))
