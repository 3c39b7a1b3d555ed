"""Checks of tensors and models; each raises ``InputError`` with one sentence."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from semirobust.core.errors import InputError
from semirobust.core.numerals import as_whole
from semirobust.core.outputs import described, logits_of, remedy
from semirobust.core.text import first_line

__all__ = [
    "IN_ORDER",
    "PIXEL_TOLERANCE",
    "cannot_run",
    "check_counts",
    "check_counts_given",
    "check_device",
    "check_dtype",
    "check_examples",
    "check_floating",
    "check_images",
    "check_labels",
    "check_logits",
    "check_mode",
    "check_pixels",
    "dtype_of",
    "how_to_tensor",
    "is_whole",
    "probe",
    "runs_in_order",
    "runs_on",
]

_MODE_DEPENDENT = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
# Resizing and normalising back leave values this far outside [0, 1] by rounding (torchattacks #136).
PIXEL_TOLERANCE = 1e-6


def check_counts(minimum: int, **counts: int) -> None:
    """Each count, named by its keyword, is a whole number of at least ``minimum``."""
    for name, count in counts.items():
        if (number := as_whole(count)) is None or number < minimum:
            raise InputError(f"{name}: expected a whole number from {minimum} on, got {count!r}")


def check_counts_given(minimum: int, **counts: int | None) -> None:
    """As :func:`check_counts`, of those that are not None."""
    check_counts(minimum, **{name: count for name, count in counts.items() if count is not None})


def check_floating(x: object, name: str = "x") -> None:
    """``x`` is a floating-point tensor with a batch dimension and without NaN or infinity."""
    if not isinstance(x, Tensor):
        raise InputError(f"{name}: expected a torch.Tensor, got {type(x).__name__}{how_to_tensor(x)}")
    if x.layout != torch.strided or x.device.type == "meta":
        what = "one without values (of the device meta)" if x.device.type == "meta" else "a sparse one"
        raise InputError(f"{name}: expected a dense tensor of numbers, got {what}")
    if not x.is_floating_point():
        raise InputError(
            f"{name}: expected floating-point pixels in [0, 1], got {x.dtype}; divide bytes by 255"
        )
    if x.dim() < 2 or x.shape[0] == 0:
        raise InputError(
            f"{name}: expected a batch of at least one example (N, ...), got shape {tuple(x.shape)}"
        )
    if not torch.isfinite(x).all():
        raise InputError(
            f"{name}: expected finite values, got {int((~torch.isfinite(x)).sum())} NaN or infinite ones"
        )


def how_to_tensor(x: object) -> str:
    """What to do to get a tensor from something else that holds pixels; empty where that is not known."""
    if isinstance(x, Mapping) and "pixel_values" in x:
        return (
            "; hand over its pixel_values in [0, 1], made with do_normalize=False; what the processor"
            " normalises by belongs into sr.as_classifier(model, mean=..., std=...)"
        )
    first = next(iter(x), None) if isinstance(x, list | tuple) else x
    if isinstance(first, Tensor):
        return "; put the tensors together by torch.stack"
    kind = type(first).__module__.partition(".")[0]
    if kind == "PIL":
        return (
            "; turn each picture into torch.from_numpy(numpy.array(picture)).permute(2, 0, 1) / 255 and put"
            " them together by torch.stack"
        )
    return "; use torch.from_numpy" if kind == "numpy" else ""


def check_pixels(x: object, name: str = "x") -> None:
    """As :func:`check_floating`, and every value is in [0, 1]."""
    check_floating(x, name)
    assert isinstance(x, Tensor)
    low, high = torch.stack(x.aminmax()).tolist()  # read together, since each look at a device waits
    if low < -PIXEL_TOLERANCE or high > 1 + PIXEL_TOLERANCE:
        raise InputError(
            f"{name}: expected pixels in [0, 1], got values from {low:.4g} to {high:.4g}; "
            "put the normalisation into the model (semirobust.Normalised)"
        )


def check_images(x: Tensor, name: str = "x", else_: str = "") -> None:
    """``x`` has the four dimensions of images: examples, channels, rows, columns; ``else_`` ends the sentence
    where it has not.
    """
    if x.dim() != 4:
        raise InputError(f"{name}: expected images (N, K, H, W), got shape {tuple(x.shape)}{else_}")


def check_labels(y: object, n: int, classes: int | None = None, name: str = "y") -> None:
    """``y`` has ``n`` integer labels of shape (n,), from 0 to classes - 1 where ``classes`` is known."""
    if not isinstance(y, Tensor):
        raise InputError(f"{name}: expected a torch.Tensor of labels, got {type(y).__name__}")
    if y.dim() == 2 and y.shape[0] == n and y.shape[1] > 1:
        raise InputError(
            f"{name}: expected {n} labels of shape ({n},), got shape {tuple(y.shape)}; of one column for each"
            f" class {name}.argmax(1) are the labels"
        )
    if not is_whole(y):
        raise InputError(f"{name}: expected integer labels, got {y.dtype}; {name}.long() has such")
    if y.dim() != 1 or len(y) != n:
        raise InputError(f"{name}: expected {n} labels of shape ({n},), got shape {tuple(y.shape)}")
    y = y.long()  # what is as wide as it is rare has no minimum in PyTorch
    low, high = torch.stack(y.aminmax()).tolist() if n else (0, 0)
    if n and (low < 0 or (classes is not None and high >= classes)):
        upper = "" if classes is None else f" to {classes - 1}"
        raise InputError(f"{name}: expected labels from 0{upper}, got {low} to {high}")


def is_whole(y: Tensor) -> bool:
    """Whether ``y`` holds whole numbers, of any width."""
    return not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool or y.is_quantized)


def check_examples(x: object, y: object) -> None:
    """``x`` has pixels in [0, 1], and ``y`` one integer label for each example."""
    check_pixels(x)
    assert isinstance(x, Tensor)
    check_labels(y, len(x))


def check_dtype(model: nn.Module, x: Tensor, name: str = "x") -> None:
    """``x`` has the dtype of the model's parameters."""
    if (expected := dtype_of(model, x.dtype)) != x.dtype:
        raise InputError(
            f"{name}: expected {expected} as the model has, got {x.dtype}; give {name}.to({expected})"
        )


def check_device(model: nn.Module, x: Tensor, y: Tensor | None = None, name: str = "x") -> None:
    """``x`` lies where weights of the model do, and ``y`` where ``x`` does: nothing is moved unasked."""
    places = {str(t.device) for t in (*model.parameters(), *model.buffers()) if t.device.type != "meta"}
    if places and str(x.device) not in places:
        raise InputError(
            f"{name}: expected a tensor on {' or '.join(sorted(places))} as the model is, got one on"
            f" {x.device}; give {name}.to({min(places)!r}), or bring the model there by"
            f" model.to({str(x.device)!r})"
        )
    if y is not None and y.device != x.device:
        raise InputError(
            f"y: expected labels on {x.device} as {name} is, got some on {y.device}; give y.to({name}.device)"
        )


def dtype_of(model: nn.Module, default: torch.dtype = torch.float32) -> torch.dtype:
    """The dtype of the model's first floating-point parameter; ``default`` where it has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), default)


def check_mode(model: nn.Module) -> None:
    """No batch norm or dropout of the model is in train mode.

    In train mode the prediction for an example depends on chance, or on the other examples of its batch.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    for name, module in model.named_modules():
        if module.training and isinstance(module, _MODE_DEPENDENT):
            raise InputError(
                f"model: expected a model in eval mode, but {name or 'it'} ({type(module).__name__}) is in"
                " train mode; call model.eval() first"
            )


def check_logits(logits: object, y: Tensor) -> None:
    """The logits are finite, of shape (N, C) with C at least 2, and no probabilities; labels are below C."""
    if (
        not isinstance(logits, Tensor)
        or logits.dim() != 2
        or logits.shape[0] != len(y)
        or logits.shape[1] < 2
    ):
        raise InputError(
            f"model: expected logits of shape ({len(y)}, classes), got {described(logits)}"
            f"{_remedy_for_one(logits, len(y))}"
        )
    if not logits.is_floating_point() or logits.layout != torch.strided or logits.device.type == "meta":
        kind = str(logits.dtype if logits.device.type != "meta" else logits.device).removeprefix("torch.")
        raise InputError(f"model: expected logits as a dense tensor of real numbers, got one of {kind}")
    if not torch.isfinite(logits).all():
        raise InputError("model: expected finite logits, got NaN or infinite ones on clean inputs")
    sums_to_one = torch.allclose(
        logits.sum(1).cpu().double(), torch.ones(len(y), dtype=torch.double), atol=1e-3
    )
    if sums_to_one and float(logits.min()) >= 0 and float(logits.max()) <= 1:
        raise InputError(
            "model: expected logits, got probabilities (rows in [0, 1] that sum to 1); remove the softmax,"
            f" or turn them back by {remedy('probabilities')}"
        )
    check_labels(y, len(y), logits.shape[1])


def _remedy_for_one(logits: object, n: int) -> str:
    """What to do about a network with one output, if this is one."""
    if not isinstance(logits, Tensor) or tuple(logits.shape) not in ((n,), (n, 1)):
        return ""
    said = f"; for a single logit of two classes use {remedy('binary')}"
    if bool(((logits >= 0) & (logits <= 1)).all()):
        said += ", and for a probability binary-probabilities"
    return said


def _what_works(model: nn.Module, x: Tensor) -> str:
    """What to say where the model runs on these examples in another way than one by one; else nothing."""
    if runs_in_order(model, x[:1]):
        return IN_ORDER
    fine = next((n for n in (len(x), 2) if n > 1 and runs_on(model, x, n)), 0)
    return (
        f", though on {fine} at once; it has to run on any number, so make or export it with a free batch"
        " dimension"
        if fine
        else ""
    )


IN_ORDER = ", though on them in plain memory order; hand over x.contiguous()"
"""What to say where :func:`runs_in_order`."""


def runs_in_order(model: nn.Module, x: Tensor) -> bool:
    """Whether the model runs on ``x`` in plain memory order, which it is not in."""
    return not x.is_contiguous() and runs_on(model, x.contiguous(), len(x))


def cannot_run(x: Tensor, error: Exception, examples: str = "", hint: str = "") -> InputError:
    """The error for a model that failed on ``x``; ``examples`` says on how many, where not on all of them."""
    examples = examples or f"{len(x)} example{'s' * (len(x) > 1)}"
    return InputError(
        f"x: the model cannot run on {examples} of shape {tuple(x.shape[1:])} ({first_line(error)}){hint}"
    )


def probe(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Run the model on one example and check its logits and all labels, before anything long starts.

    Raises:
        InputError: another dtype or device, a model that cannot run on such an example alone or gives no
            logits, or labels without a logit.
    """
    check_dtype(model, x)
    check_device(model, x, y)
    try:
        with torch.no_grad():
            logits = logits_of(model(x[:1].clone()))
    except InputError:
        raise
    except Exception as error:  # a model can fail in any way on what it was not made for
        raise cannot_run(x, error, "examples", _what_works(model, x)) from None
    check_logits(logits, y[:1])
    check_labels(y, len(y), logits.shape[1])


def runs_on(model: nn.Module, x: Tensor, n: int) -> bool:
    """Whether the model runs on ``n`` examples like these."""
    try:
        with torch.no_grad():
            model(torch.cat([x] * math.ceil(n / len(x)))[:n])
    except Exception:  # that it fails is the answer
        return False
    return True
