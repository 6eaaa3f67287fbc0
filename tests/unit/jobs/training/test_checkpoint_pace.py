"""`jobs.training.checkpoint_pace`: little lost, and never more than the agreed share of training time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.training.checkpoint_pace import CheckpointPace


def test_short_epochs_are_not_each_saved():
    pace, saved = CheckpointPace(), []
    for tenth in range(1, 101):
        if pace.is_due(tenth / 10, mid_epoch=False):
            saved.append(tenth / 10)
            pace.paid(tenth / 10, 0.01)
    assert saved == [2.0, 4.0, 6.0, 8.0, 10.0]


def test_a_long_epoch_is_saved_within():
    pace = CheckpointPace()
    assert not pace.is_due(59.0, mid_epoch=True)
    assert pace.is_due(60.0, mid_epoch=True)


@given(
    epochs=st.lists(st.floats(0.01, 30.0), min_size=1, max_size=60),
    costs=st.lists(st.floats(0.001, 5.0), min_size=60, max_size=60),
)
def test_checkpoints_cost_at_most_their_share(epochs, costs):
    """The last one is not paid back yet, and the first comes before any cost is known."""
    pace, worked_s, paid = CheckpointPace(), 0.0, []
    for epoch_s, cost_s in zip(epochs, costs, strict=False):
        worked_s += epoch_s
        if pace.is_due(worked_s, mid_epoch=False):
            pace.paid(worked_s, cost_s)
            paid.append(cost_s)
    assert sum(paid[:-1]) <= pace.cost_share * worked_s + 1e-9
