"""CIFAR's pickles give arrays and lists of numbers, and nothing that a file could fill the memory with."""

import io
import pickle
import time

import numpy as np
import pytest

from semirobust.core.errors import InputError
from semirobust.data.cifar import read_python

_CLASSES = tuple("0123456789")


def _written(tmp_path, content):
    (tmp_path / "b").write_bytes(content)
    return tmp_path / "b"


def _calls(*steps):
    """A pickle of ``{b"data": ..., b"labels": [0]}`` whose data is made by the given operations."""
    stream = io.BytesIO()
    stream.write(b"\x80\x02}(C\x04data".replace(b"\x80\x02", b"\x80\x03"))
    for step in steps:
        stream.write(step)
    stream.write(b"C\x06labels](K\x00eu.")
    return stream.getvalue()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_batches_are_read(tmp_path, protocol):
    data = np.random.default_rng(0).integers(0, 255, (3, 3072), dtype=np.uint8)
    found = read_python(
        _written(tmp_path, pickle.dumps({b"data": data, b"labels": [3, 1, 2]}, protocol=protocol)), _CLASSES
    )
    assert found.y.tolist() == [3, 1, 2] and np.array_equal(found.pixels.flatten(1).numpy(), data)


@pytest.mark.parametrize(
    "steps",
    [
        (
            b"cnumpy\nndarray\n",
            b"(J\x00\x00\x00\x01M\x00\x0ctX\x02\x00\x00\x00u1\x86R",
        ),  # an array of any size
        (
            b"c_codecs\nencode\n",
            b"X\x04\x00\x00\x00abcdX\x08\x00\x00\x00punycode\x86R",
        ),  # an encoding of quadratic time
        (b"]q\x00", *(b"(h\x00h\x00lq\x00" for _ in range(60))),  # a list of lists of lists ...
    ],
)
def test_what_would_fill_the_memory_is_refused_at_once(tmp_path, steps):
    began = time.process_time()  # of this process alone, whatever else the machine does
    with pytest.raises(InputError):
        read_python(_written(tmp_path, _calls(*steps)), _CLASSES)
    assert time.process_time() - began < 2
