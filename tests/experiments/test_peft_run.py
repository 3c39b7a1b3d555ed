"""A run folder of a network that was hardened by adapters holds that network itself."""

import pytest


def test_a_run_is_evaluated_and_hardened_further_without_its_adapters(run, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed")
    data = [
        "--data",
        "digits",
        "--data-train",
        "60",
        "--data-test",
        "20",
        "--attack",
        "pgd-1",
        "--eps",
        "0.1",
    ]
    small = ["--model", "vit_small", "--width", "0.0625", "--set", "model.options.depth=1"]
    base, out = tmp_path / "base", tmp_path / "hard"
    run("train", *small, *data, "--epochs", "1", "--out", base)
    flags = ["--method", "peft", "--epochs", "1", "--attack", "pgd-1", "--attacks", "fgsm"]
    run("harden", "--from", base, *flags, "--set", "harden.options.kind=dora", "--out", out)
    run("evaluate", out, "--attacks", "fgsm")
    run("harden", "--from", out, *flags, "--out", tmp_path / "harder")
