"""Work that gives way: as much as its share allows, and never nothing at all."""

from dataclasses import dataclass

import pytest

from aval.worker.share import WAIT_MAX, ProcessorShare


@dataclass
class Process:
    """What a process has lived and computed, in seconds."""

    lived: float = 0.0
    computed: float = 0.0

    def share(self, percent: int) -> ProcessorShare:
        return ProcessorShare(percent, read_clock=lambda: self.lived, read_computed=lambda: self.computed)

    def goes_on(self, lived: float, computed: float) -> None:
        self.lived += lived
        self.computed += computed


@pytest.mark.parametrize(
    ("percent", "lived", "computed", "takes_turn"),
    [
        (35, 0.0, 0.0, True),
        (35, 0.05, 0.0, True),
        (35, 0.05, 0.017, True),
        (35, 0.05, 0.018, False),
        (35, 0.08, 0.027, True),
        (100, 0.05, 0.05, True),
        (100, 0.05, 0.06, False),  # threads compute beside it
        (1, WAIT_MAX.total_seconds() - 0.001, 0.2, False),
        (1, WAIT_MAX.total_seconds(), 0.2, True),
    ],
)
def test_work_goes_on_once_the_process_has_rested_enough(percent, lived, computed, takes_turn):
    process = Process()
    share = process.share(percent)
    process.goes_on(lived, computed)
    assert share.takes_turn() is takes_turn


def test_only_what_was_computed_since_the_last_turn_counts():
    process = Process()
    share = process.share(50)
    process.goes_on(1.0, 0.1)
    assert share.takes_turn()
    process.goes_on(0.05, 0.03)
    assert not share.takes_turn()  # the rest of that second is not saved up
    process.goes_on(0.02, 0.0)
    assert share.takes_turn()


def test_a_process_that_never_rests_takes_a_turn_now_and_then():
    process = Process()
    share = process.share(10)
    turns = 0
    for _ in range(130):
        process.goes_on(1 / 128, 1 / 128)
        turns += share.takes_turn()
    assert turns == 10  # in a second


def test_a_share_counts_what_this_process_really_computes():
    share = ProcessorShare(1, read_clock=lambda: 0.0)
    sum(range(1_000_000))
    assert not share.takes_turn()
