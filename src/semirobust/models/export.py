"""A network as a file that other programs run, and that file as a network again."""

import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from semirobust.core.budget import parse_json
from semirobust.core.checks import check_images
from semirobust.core.classifiers import classifier
from semirobust.core.errors import InputError
from semirobust.core.files import read_bytes
from semirobust.core.links import given_file
from semirobust.core.ours import ONNX_PRODUCER, PROGRAM, write_out
from semirobust.core.packages import hushed, imported
from semirobust.core.text import first_line
from semirobust.layers.quiet import device_of, quiet
from semirobust.records.origin import code_version

__all__ = ["OnnxNetwork", "as_onnx", "export", "load_onnx"]

_SUFFIX = ".onnx"
_EXTRA = "onnx"
_PIXELS = "from 0 to 1; the normalisation is inside"
_MOST = (1 << 31) - 1  # bytes of a protocol buffer
# Two runtimes add up in other orders; what is further apart is another function.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4


def export(
    model: nn.Module, x: Tensor, path: str | Path, *, classes: Sequence[str] = (), opset: int | None = None
) -> Path:
    """Write a network, normalisation included, so that other programs can run it.

    What was written is read again and run on ``x``, alone and in a batch, and must give the same logits.

    Args:
        model: gives logits (N, C). It is left as it was; what is written is in eval mode.
        x: (N, K, H, W) one or more images with pixels in [0, 1]; the file takes batches of any size of images
            of this shape.
        path: ``.onnx`` for ONNX (needs ``pip install 'semirobust[onnx]'``); anything else, such as ``.pt2``,
            for ``torch.export.load``.
        classes: the names of the outputs, which an ONNX file keeps.
        opset: of ONNX; what PyTorch takes by default.

    Returns:
        the place of the file.

    Raises:
        InputError: the network cannot be traced, answers in another way once written, or the file cannot be
            written, or replaces one that this library has not made.
    """
    check_images(x, "export")
    path = Path(path)
    with classifier(model) as network, quiet(network), torch.no_grad():
        x = x.to(device_of(network, x.device))
        pair = torch.cat([x, x])[:2]  # a batch of one would be taken for the only size
        expected = network(pair)
        if path.suffix.lower() == _SUFFIX:
            content = as_onnx(network, pair, classes, opset)
            again: nn.Module = OnnxNetwork(content)
        else:
            content = _as_program(network, pair)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                again = torch.export.load(io.BytesIO(content)).module()
        for images, logits in ((pair, expected), (pair[:1], network(pair[:1]))):
            _check_equal(again(images), logits)
    try:
        return write_out(path, content)
    except OSError as error:
        raise InputError(f"export: cannot write {path} ({error.strerror})") from None


def load_onnx(path: str | Path) -> "OnnxNetwork":
    """An ONNX file as a network without gradients, so that what is deployed can be evaluated too.

    Attacks that need no gradient work on it (``square``, ``pixle``); the others refuse it.

    Args:
        path: the file. It is run by onnxruntime: take only files that you trust.

    Raises:
        InputError: it cannot be read, keeps weights in other files, or is no classifier of images.
    """
    try:
        content = read_bytes(given_file(path))
    except OSError as error:
        raise InputError(f"onnx: cannot read {path} ({error.strerror or error})") from None
    return OnnxNetwork(content)


class OnnxNetwork(nn.Module):
    """Logits (N, C) of images (N, K, H, W) by onnxruntime on the CPU; it has no parameters and no gradient.

    Args:
        content: the bytes of an ONNX file.

    Attributes:
        image_shape: (K, H, W); None where the file leaves a side open.
        outputs: C; None where the file leaves it open.
        classes: the names of the outputs, where the file says them.
        normalised: whether the file says that its normalisation is inside.
        version: that of onnxruntime.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content
        onnx = imported("onnx", _EXTRA, "onnx")
        try:
            proto = onnx.load_model_from_string(content)
        except Exception as error:  # a damaged file fails in many ways
            raise InputError(
                f"onnx: expected an ONNX file, got another or a damaged one ({first_line(error)})"
            ) from None
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
            raise InputError("onnx: expected a file with its weights inside, got one that names other files")
        try:
            onnx.checker.check_model(proto)
        except Exception as error:  # what stands in it does not fit together
            raise InputError(
                f"onnx: expected an ONNX file, got a damaged one ({first_line(error)})"
            ) from None
        kept = {prop.key: prop.value for prop in proto.metadata_props}
        self.classes = _names(kept.get("classes", "[]"))
        self.normalised = kept.get("pixels") == _PIXELS
        self._start()
        inputs, results = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or not results or len(results[0].shape) != 2:
            raise InputError(
                "onnx: expected one input (N, K, H, W) and logits (N, C), got"
                f" {[i.shape for i in inputs]} and {[o.shape for o in results]}"
            )
        self._input, self._output = inputs[0].name, results[0].name
        self._dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        batch, *sides = inputs[0].shape
        self._batch = batch if isinstance(batch, int) else 0
        self.image_shape = tuple(sides) if all(isinstance(side, int) for side in sides) else None
        self.outputs = results[0].shape[1] if isinstance(results[0].shape[1], int) else None

    def _start(self) -> None:
        runtime = imported("onnxruntime", _EXTRA, "onnx")
        self.version = str(runtime.__version__)
        options = runtime.SessionOptions()
        self._threads = options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        try:
            self._session = runtime.InferenceSession(
                self._content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # what it cannot run
            raise InputError(f"onnx: onnxruntime cannot run this file ({first_line(error)})") from None

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C), on the device and in the precision of ``x``."""
        if self._threads != torch.get_num_threads():
            self._start()
        size = self._batch or len(x)
        parts = [self._run(x[i : i + size]) for i in range(0, len(x), max(size, 1))]
        return torch.cat(parts).to(x) if parts else x.new_zeros((0, self.outputs or 0))

    def _run(self, x: Tensor) -> Tensor:
        values = (
            x.detach().cpu().numpy().astype(self._dtype, copy=False)
            if x.dtype != torch.bfloat16
            else (x.detach().float().cpu().numpy().astype(self._dtype))
        )
        n = len(values)
        if self._batch and n < self._batch:  # a file of a certain batch size
            values = np.concatenate([values, np.repeat(values[-1:], self._batch - n, axis=0)])
        (logits,) = self._session.run([self._output], {self._input: values})
        return torch.from_numpy(np.asarray(logits))[:n]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes


def _names(text: str) -> tuple[str, ...]:
    try:
        found = parse_json(text)
    except ValueError:
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()


def as_onnx(network: nn.Module, x: Tensor, classes: Sequence[str] = (), opset: int | None = None) -> bytes:
    """What :func:`export` writes for a network, without comparing; it must be quiet and on the device of
    ``x``, two images or more.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        imported(package, _EXTRA, "export")
    with warnings.catch_warnings(), hushed("torch", "onnxscript"):
        warnings.simplefilter("ignore")  # they are about PyTorch's own code
        try:
            program = torch.onnx.export(
                network,
                (x,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                input_names=["pixels"],
                output_names=["logits"],
                opset_version=opset,
                verbose=False,
            )
        except Exception as error:  # as many ways as there are models
            reason = first_line(error.__cause__ or error)
            raise InputError(f"export: PyTorch cannot write this network as ONNX ({reason})") from error
    proto = program.model_proto  # type: ignore[union-attr]
    proto.producer_name, proto.producer_version = ONNX_PRODUCER, code_version()
    for key, value in {"pixels": _PIXELS, "classes": json.dumps(list(classes)) if classes else ""}.items():
        if value:
            prop = proto.metadata_props.add()
            prop.key, prop.value = key, value
    if (size := proto.ByteSize()) > _MOST:
        raise InputError(
            f"export: expected a network of less than 2 GiB for one ONNX file, got {size:,} bytes"
        )
    content: bytes = proto.SerializeToString()
    return content


def _as_program(network: nn.Module, x: Tensor) -> bytes:
    batch = torch.export.Dim("batch", min=1)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about PyTorch's own code
        try:
            program = torch.export.export(network, (x,), dynamic_shapes=({0: batch},))
        except Exception as error:  # tracing fails in as many ways as there are models
            raise InputError(f"export: PyTorch cannot trace the model ({first_line(error)})") from error
        torch.export.save(program, buffer, extra_files={PROGRAM: code_version()})
    return buffer.getvalue()


def _check_equal(found: Tensor, expected: Tensor) -> None:
    found, expected = found.to(expected), expected.detach()
    if found.shape != expected.shape:
        raise InputError(f"export: the file gives {tuple(found.shape)}, the network {tuple(expected.shape)}")
    apart = float((found - expected).abs().max())
    most = _ABSOLUTE + _RELATIVE * float(expected.abs().max())
    if not apart <= most:
        raise InputError(
            f"export: the file answers differently, by {apart:.3g} where {most:.3g} would be rounding; it is"
            " not written"
        )
