"""The names of the files that commands leave in a run folder."""

__all__ = ["LAST_FILE", "MODEL_FILE", "REPORT_FILE", "SETTINGS_FILE", "STARTED_FILE"]

MODEL_FILE = "model.safetensors"
"""The network that the run ends with: of its best epoch, where it has held-out images."""

LAST_FILE = "last.safetensors"
"""The network after the last epoch."""

STARTED_FILE = "started.json"
"""What a run that has not ended was asked for."""

SETTINGS_FILE = "settings.json"
"""The settings of a run that has ended, and what its weights are known by."""

REPORT_FILE = "report.html"
