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


def test_a_file_is_named_each_time(run, tmp_path):
    """It is run, and under its name may lie another one tomorrow."""
    model = sr.build_model("resnet8", 10, 0.125, in_channels=1, image_size=8)
    sr.export(model, sr.load_data("digits").test.first(2).all()[0], tmp_path / "net.onnx")
    few = ("--data", "digits", "--examples", "8", "--attacks", "square-5")
    run("evaluate", "onnx:net.onnx", *few, "--out", "r")
    _, error = run("evaluate", "r", "--examples", "8", "--attacks", "square-6", code=2)
    assert "give the network itself as it was given there, --model onnx:net.onnx" in error
    run("evaluate", "onnx:net.onnx", *few[:4], "--attacks", "square-6", "--out", "r")
    assert len(list((tmp_path / "r" / "records").iterdir())) == 2
