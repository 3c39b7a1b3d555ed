"""The command line, called in this process."""

import sys

import pytest

from semirobust.cli.app import main


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["semirobust", *map(str, arguments)])
        try:
            main()
            found = 0
        except SystemExit as leave:
            found = leave.code
        captured = capsys.readouterr()
        assert found == code, captured.err
        return captured.out, captured.err

    return call
