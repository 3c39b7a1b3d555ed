"""``semirobust export``, and what it wrote as a model of other commands."""

import json

import pytest

import semirobust as sr

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def test_the_command_line_writes_and_measures_it(run, tmp_path):
    model = sr.build_model("resnet8", 10, 0.25, in_channels=1, image_size=8, mean=(0.2,), std=(0.5,))
    sr.save_model(model, tmp_path / "weights.safetensors")
    build = ("--model", "resnet8", "--width", "0.25", "--checkpoint", "weights.safetensors")
    normal = ("--set", "model.mean=[0.2]", "--set", "model.std=[0.5]")
    out, _ = run("export", *build, *normal, "--data", "digits", "--out", "net.onnx")
    assert "net.onnx" in out and "gave the logits of the model" in " ".join(out.split())
    assert sr.load_onnx(tmp_path / "net.onnx").classes == tuple("0123456789")
    few = ("--data", "digits", "--examples", "20", "--json")
    there = json.loads(run("evaluate", *build, *normal, *few, "--attacks", "square-20")[0])["accuracy"]
    file = json.loads(run("evaluate", "onnx:net.onnx", *few, "--attacks", "square-20")[0])["accuracy"]
    assert file == there
    _, error = run("evaluate", "onnx:net.onnx", *few, "--attacks", "pgd-2", code=2)
    assert "no gradient in its input" in error
    _, error = run("train", "--model", "onnx:net.onnx", "--data", "digits", "--out", "run", code=2)
    assert "is finished; it cannot be trained" in error
    _, error = run("profile", "onnx:net.onnx", "--data", "digits", code=2)
    assert "expected a convolution or linear module to run, found none" in error
