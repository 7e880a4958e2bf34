"""Goal: a call that can never be answered is refused at once, and deadlines only shrink."""

import pytest

from kelpie.actor.call import ActorAddress, Call, check_call
from kelpie.errors import CallCycle, CallTimedOut, LimitExceeded
from kelpie.limits import CALL_CHAIN_MAX
from tests.unit.actor.build import ANN, BOB, Peek


def a_call(*, deadline_ms: int = 100, chain: tuple[ActorAddress, ...] = ()) -> Call:
    return Call(target=ANN, lane="turns", body=Peek(), deadline_ms=deadline_ms, chain=chain)


def test_an_onward_call_names_who_waits_and_never_has_a_later_deadline() -> None:
    for wait_ms, deadline_ms in ((1, 8), (92, 99), (93, 100), (94, 100), (10_000, 100)):
        onward = a_call(chain=(ActorAddress("root"),)).onward(BOB, "control", Peek(), now_ms=7, wait_ms_max=wait_ms)
        assert onward == Call(
            target=BOB,
            lane="control",
            body=Peek(),
            deadline_ms=deadline_ms,
            chain=(ActorAddress("root"), ANN),
        )


def test_a_call_back_to_whoever_waits_for_it_is_refused() -> None:
    onward = a_call().onward(BOB, "turns", Peek(), now_ms=0, wait_ms_max=9)
    back = onward.onward(ANN, "turns", Peek(), now_ms=0, wait_ms_max=9)
    check_call(onward, 0)
    with pytest.raises(CallCycle) as refused:
        check_call(back, 0)
    assert refused.value.fields == {"target": ANN}


def test_a_chain_has_an_end() -> None:
    chain = tuple(ActorAddress(str(at)) for at in range(CALL_CHAIN_MAX))
    check_call(a_call(chain=chain[1:]), 0)
    with pytest.raises(LimitExceeded) as refused:
        check_call(a_call(chain=chain), 0)
    assert refused.value.fields == {"limit": "CALL_CHAIN_MAX", "maximum": CALL_CHAIN_MAX}


@pytest.mark.parametrize(("now_ms", "late"), [(99, False), (100, True), (101, True)])
def test_a_call_whose_deadline_has_passed_is_not_begun(now_ms: int, late: bool) -> None:
    if not late:
        check_call(a_call(), now_ms)
        return
    with pytest.raises(CallTimedOut):
        check_call(a_call(), now_ms)
