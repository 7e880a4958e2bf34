"""Goal: belief ends before the row does, an epoch is never issued twice, and only the dead are robbed. Exhaustive."""

from itertools import product

import pytest

from kelpie.cluster.lease import NodeLease, belief_ends_ms, is_dead, renew
from kelpie.ids import NodeId
from kelpie.limits import HEARTBEAT_MS, LEASE_GRACE_MS, LEASE_MARGIN_MS, LEASE_MS

NODE = NodeId("one")
TIMES = (0, 1, LEASE_MS - 1, LEASE_MS, LEASE_MS + 1, 3 * LEASE_MS)
EPOCHS = (1, 2, 3)


def lease(epoch: int, expires_ms: int) -> NodeLease:
    return NodeLease(node=NODE, epoch=epoch, expires_ms=expires_ms)


def test_the_first_lease_of_a_node_has_epoch_1() -> None:
    assert renew(None, NODE, 0, 7) == lease(1, 7 + LEASE_MS)


def test_an_epoch_goes_on_only_while_it_is_stored_and_unexpired() -> None:
    for stored, held, expires, now in product(EPOCHS, (0, *EPOCHS), TIMES, TIMES):
        issued = renew(lease(stored, expires), NODE, held, now)
        continues = stored == held and now < expires
        assert issued == lease(held if continues else max(stored, held) + 1, now + LEASE_MS)


def test_a_row_that_was_lost_is_issued_anew_above_what_the_node_held() -> None:
    assert [renew(None, NODE, held, 0).epoch for held in (0, 1, 5)] == [1, 2, 6]


def test_another_node_s_row_and_a_negative_epoch_are_bugs() -> None:
    with pytest.raises(AssertionError):
        renew(NodeLease(node=NodeId("two"), epoch=1, expires_ms=9), NODE, 1, 0)
    with pytest.raises(AssertionError):
        renew(None, NODE, -1, 0)


def test_belief_ends_before_the_row_however_slow_the_answer() -> None:
    sent_ms = 100
    for answer_ms in range(0, 3 * LEASE_MS, 100):
        row = renew(None, NODE, 0, sent_ms + answer_ms)  # the store writes after the node has sent
        assert row.expires_ms - belief_ends_ms(sent_ms) == answer_ms + LEASE_MARGIN_MS
        assert not is_dead(row, row.epoch, belief_ends_ms(sent_ms))


def test_belief_outlives_a_missed_heartbeat() -> None:
    assert belief_ends_ms(0) > 2 * HEARTBEAT_MS


def test_what_is_owned_under_another_epoch_or_past_the_grace_is_free() -> None:
    for stored, owned, expires, now in product(EPOCHS, EPOCHS, TIMES, TIMES):
        assert is_dead(lease(stored, expires), owned, now) == (stored != owned or now >= expires + LEASE_GRACE_MS)


def test_a_node_without_a_row_is_dead() -> None:
    assert is_dead(None, 1, 0)


def test_nobody_is_robbed_while_the_grace_lasts() -> None:
    row = lease(1, 1_000)
    assert [is_dead(row, 1, 1_000 + LEASE_GRACE_MS + at) for at in (-1, 0)] == [False, True]
