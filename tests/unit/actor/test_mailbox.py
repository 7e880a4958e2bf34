"""Goal: control goes first, arrival decides the rest, full is an answer, and whoever waits is always told."""

import asyncio
from itertools import product

import pytest

from kelpie.actor.call import Call, Lane
from kelpie.actor.mailbox import Letter, Mailbox
from kelpie.errors import ActivationLost, Busy
from kelpie.limits import MAILBOX_CALLS_MAX, RETRY_AFTER_MS
from tests.unit.actor.build import ANN, Add, Peek, Value, virtual


def a_letter(lane: Lane = "turns", *, name: str = "", deadline_ms: int = 100) -> Letter:
    call = Call(target=ANN, lane=lane, body=Add(id=name), deadline_ms=deadline_ms)
    return Letter(call, asyncio.get_running_loop().create_future())


def names(mailbox: Mailbox, now_ms: int = 0) -> list[str]:
    taken: list[str] = []
    while (letter := mailbox.take(now_ms)) is not None:
        assert isinstance(letter.call.body, Add)
        taken.append(letter.call.body.id)
    return taken


def test_every_order_of_arrival_is_taken_control_first_then_as_it_came() -> None:
    async def main(_world: object) -> None:
        lanes: tuple[Lane, Lane] = ("control", "turns")
        for arrival in product(lanes, repeat=5):
            mailbox = Mailbox()
            for at, lane in enumerate(arrival):
                mailbox.put(a_letter(lane, name=f"{lane}{at}"))
            assert len(mailbox) == 5
            arrived = [f"{lane}{at}" for at, lane in enumerate(arrival)]
            assert names(mailbox) == sorted(arrived, key=lambda name: not name.startswith("control"))
            assert len(mailbox) == 0

    virtual(main)


def test_a_full_lane_answers_busy_and_the_other_lane_still_takes() -> None:
    async def main(_world: object) -> None:
        mailbox = Mailbox()
        for _ in range(MAILBOX_CALLS_MAX):
            mailbox.put(a_letter("turns"))
        with pytest.raises(Busy) as refused:
            mailbox.put(a_letter("turns"))
        assert refused.value.fields == {
            "limit": "MAILBOX_CALLS_MAX",
            "maximum": MAILBOX_CALLS_MAX,
            "retry_after_ms": RETRY_AFTER_MS,
        }
        mailbox.put(a_letter("control", name="first"))
        letter = mailbox.take(0)
        assert letter is not None and letter.call.body == Add(id="first")
        assert len(mailbox) == MAILBOX_CALLS_MAX

    virtual(main)


def test_letters_of_callers_that_left_or_whose_deadline_passed_are_skipped() -> None:
    async def main(_world: object) -> None:
        mailbox = Mailbox()
        left = a_letter(name="left")
        for letter in (left, a_letter(name="late", deadline_ms=5), a_letter(name="kept", deadline_ms=6)):
            mailbox.put(letter)
        left.reply.cancel()
        assert names(mailbox, now_ms=5) == ["kept"]

    virtual(main)


def test_closing_tells_everybody_once_and_takes_no_more() -> None:
    async def main(_world: object) -> None:
        mailbox = Mailbox()
        letters = [a_letter("turns"), a_letter("control"), a_letter("turns")]
        for letter in letters:
            mailbox.put(letter)
        error = ActivationLost("gone")
        mailbox.close(error)
        mailbox.close(ActivationLost("again"))
        assert [letter.reply.exception() for letter in letters] == [error] * 3
        assert (mailbox.closed, len(mailbox), mailbox.take(0)) == (True, 0, None)
        with pytest.raises(AssertionError):
            mailbox.put(a_letter())

    virtual(main)


def test_a_reply_is_given_once_and_never_to_a_caller_that_left() -> None:
    async def main(_world: object) -> None:
        answered, failed, left = a_letter(), a_letter(), a_letter()
        answered.answer(Value(value=1))
        answered.fail(ActivationLost("too late"))
        failed.fail(ActivationLost("first"))
        failed.answer(Peek())
        left.reply.cancel()
        left.answer(Peek())
        left.fail(ActivationLost("nobody listens"))
        assert answered.reply.result() == Value(value=1)
        assert isinstance(failed.reply.exception(), ActivationLost)
        assert left.reply.cancelled()

    virtual(main)
