"""What a run remembers: the pass rate's average and the target lengths, by hand; and that it survives JSON."""

import json
import math

import pytest
import torch

from egrc.methods.history import WINDOW, History, bucket


def test_the_pass_rate_moves_slowly_from_one() -> None:
    history = History()
    history.update(torch.tensor([True, False, False, False]), torch.tensor([1, 2, 3, 4]), 4)
    assert history.pass_rate == pytest.approx(0.99 + 0.01 * 0.25)


@pytest.mark.parametrize(("rate", "expected"), [(1.0, 0), (2 / 3, 0), (0.6, 1), (1 / 3, 1), (0.3, 2), (0.0, 2)])
def test_difficulties(rate: float, expected: int) -> None:
    assert bucket(rate) == expected


def test_targets_by_hand() -> None:
    """Groups of 6.  Easy: 5 correct, of which 1/4 (a group at 2/3 has 4) must be within: the 2nd of 5 lengths.
    Medium: 3 correct, 1/2 within (2 of 6): the 2nd of 3.  Hard: 1 correct, all within."""
    history = History()
    for good, length in (
        ([1, 1, 1, 1, 1, 0], [50, 10, 40, 20, 30, 1]),
        ([1, 1, 1, 0, 0, 0], [80, 60, 70, 2, 3, 4]),
        ([0, 0, 1, 0, 0, 0], [9, 9, 90, 9, 9, 9]),
    ):
        history.update(torch.tensor(good).bool(), torch.tensor(length), 6)
    assert history.targets(6) == [20.0, 70.0, 90.0]


def test_without_a_correct_rollout_there_is_no_target() -> None:
    assert History().targets(8) == [math.inf] * 3


def test_old_rollouts_are_forgotten() -> None:
    history = History()
    for step in range(WINDOW + 1):
        history.update(torch.tensor([True, True]), torch.tensor([step + 1, 100]), 2)
    assert min(x for step in history.lengths for x in step[0]) == 2


def test_a_resumed_history_goes_on_to_the_bit() -> None:
    first, second = History(), History()
    rollouts = [(torch.tensor([True, False]), torch.tensor([3 * k + 1, 5])) for k in range(12)]
    for facts in rollouts[:7]:
        first.update(*facts, 2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for facts in rollouts[7:]:
        first.update(*facts, 2)
        second.update(*facts, 2)
    assert first.state_dict() == second.state_dict()
