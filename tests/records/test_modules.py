"""What a network is asked for: its logits out of any output, and evaluation mode while it runs."""

from __future__ import annotations

import threading
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from perceptlib.records.modules import evaluating, logits_of

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, torch.ones(1)),
        [LOGITS],
        {"logits": LOGITS, "loss": torch.ones(())},
        {"out": LOGITS},
        ({"logits": (LOGITS,)}, 3),
        SimpleNamespace(logits=LOGITS),
        namedtuple("Output", "loss logits")(torch.ones(()), LOGITS),
        (LOGITS, torch.ones(2, 5, 4, 4)),
        LOGITS[..., None, None],
        LOGITS.half(),
        LOGITS.bfloat16(),
        LOGITS.double(),
    ],
)
def test_logits_are_found_in_an_output(output):
    logits = logits_of(output, 2)
    assert logits.dtype == (
        torch.float64 if output is not LOGITS and getattr(output, "dtype", 0) == torch.float64 else torch.float32
    )
    assert logits.tolist() == LOGITS.tolist()


def test_logits_of_the_usual_form_are_handed_on_themselves():
    assert logits_of(LOGITS, 2) is LOGITS


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 1, 1)])
def test_one_logit_stands_for_two_of_its_difference(shape):
    numbers = torch.tensor([3.0, -1.0])
    logits = logits_of(numbers.view(shape), 2)
    assert logits.tolist() == [[-1.5, 1.5], [0.5, -0.5]]
    torch.testing.assert_close(logits.softmax(1)[:, 1], numbers.sigmoid())


def test_axes_of_length_1_that_a_network_drops_are_put_back():
    assert logits_of(torch.tensor([1.0, 2.0]), 1).tolist() == [[1, 2]]
    assert logits_of(torch.tensor(2.0), 1).tolist() == [[-1, 1]]


@pytest.mark.parametrize(
    ("output", "error", "sentence"),
    [
        ({"a": LOGITS, "b": LOGITS}, ValueError, "a dictionary of 'a', 'b'; an entry 'logits' is needed; wrap"),
        ({}, ValueError, "a dictionary of nothing; an entry 'logits'"),
        ("text", TypeError, r"returns a str; a tensor of logits \(N, K\) is needed, or a tuple that begins with it"),
        ((), TypeError, "returns a tuple; a tensor"),
        (LOGITS.argmax(1), TypeError, "numbers of type int64, which have no gradient; return the logits"),
        (torch.ones(2, 3, 4, 4), ValueError, r"shape \(2, 3, 4, 4\) for 2 pictures; \(N, K\), .* average over places"),
        (torch.ones(3, 2), ValueError, r"shape \(3, 2\) for 2 pictures"),
        (torch.ones(2, 0), ValueError, r"shape \(2, 0\) for 2 pictures"),
        ((torch.ones(2, 5), LOGITS), ValueError, r"tensors of shape \(2, 5\), \(2, 3\), and which are logits cannot"),
        (LOGITS[:, :1].requires_grad_().sigmoid().half()[:, 0], ValueError, "the probability that a sigmoid gives"),
    ],
)
def test_outputs_without_logits_refused(output, error, sentence):
    with pytest.raises(error, match=sentence):
        logits_of(output, 2)


def modes(network):
    return [part.training for part in network.modules()]


@pytest.fixture
def network():
    made = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2))).train()
    made[1][1].eval()  # as people freeze it
    return made


def test_every_part_is_given_its_mode_back(network):
    before = modes(network)
    with pytest.raises(KeyError), evaluating(network):
        assert not any(modes(network))
        raise KeyError
    assert modes(network) == before
    with evaluating(lambda images: images):
        pass


def test_last_of_several_threads_gives_the_mode_back(network):
    before, inside, go_on = modes(network), threading.Event(), threading.Event()

    def stay():
        with evaluating(network):
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(10)
    with evaluating(network[1]):
        pass
    with evaluating(network):
        go_on.set()
        thread.join()
        assert not any(modes(network))
    assert modes(network) == before
