"""Small parts that all rooms use: texts, processes, the sizes of batches."""

import pytest
import torch

from semirobust.core.errors import InputError
from semirobust.core.processes import ALONE, Processes
from semirobust.core.text import first_line, first_sentence, slug
from semirobust.data.base.sampling import batch_sizes


class _Two:
    """The second of two processes, of which the first has 3 times the values of this one."""

    global_rank, world_size, device = 1, 2, torch.device("cpu")

    def all_reduce(self, values, reduce_op):
        return values * {"sum": 4, "mean": 2}[reduce_op]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("how many layers; 5 % where none is given", "how many layers"),
        (
            "fresh ones (`none`: as they are; the paper's). Else not",
            "fresh ones (`none`: as they are; the paper's)",
        ),
        ("back to them (Frankle et al. 2020). Then on", "back to them (Frankle et al. 2020)"),
        ("as Zhang et al. 2019 have it. Ours", "as Zhang et al. 2019 have it"),
        ("the only one.", "the only one"),
    ],
)
def test_the_first_sentence_is_whole(text, first):
    assert first_sentence(text) == first


def test_the_first_line_of_an_error():
    assert first_line(RuntimeError("shapes differ\nwhile running conv1")) == "shapes differ"
    assert first_line(RuntimeError("\n shapes differ\n")) == "shapes differ"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(ValueError("no"), with_type=True) == "ValueError: no"
    assert first_line(ValueError(""), with_type=True) == "ValueError"


def test_a_slug_is_part_of_a_file_name():
    assert slug("CLAT, k = 2/5") == "CLAT--k---2-5"


def test_a_process_alone_does_everything():
    values = torch.tensor([1, 2])
    assert ALONE.sum(values) is values and ALONE.gather(["a", "b"], 2) == ["a", "b"]
    assert all(ALONE.takes(piece) for piece in range(3))
    ALONE.mean_([values])
    ALONE.check_equal("2 epochs", "state: expected the same")
    assert values.tolist() == [1, 2]


def test_several_processes_sum_and_average():
    processes = Processes(_Two())
    assert [piece for piece in range(5) if processes.takes(piece)] == [1, 3]
    assert processes.sum(torch.tensor([1, 2])).tolist() == [4, 8]
    tensors = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T, torch.tensor(0.5), torch.nn.Parameter(torch.ones(2))]
    expected = [2 * tensor.detach() for tensor in tensors]
    processes.mean_(tensors)
    for tensor, doubled in zip(tensors, expected, strict=True):
        assert torch.equal(tensor.detach(), doubled)
    processes.mean_([])


def test_processes_that_differ_are_told(monkeypatch):
    def gather(parts, pieces):
        parts[:] = [["2 epochs"], pieces]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    Processes(_Two()).check_equal("2 epochs", "state: expected the same")
    with pytest.raises(InputError, match="state: expected the same; they found 2 epochs, 0 epochs"):
        Processes(_Two()).check_equal("0 epochs", "state: expected the same")


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 2]), (3, 5, [3])],
)
def test_no_batch_of_training_has_a_single_image(count, size, sizes):
    assert batch_sizes(count, size) == sizes
