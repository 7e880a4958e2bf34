"""All canaries, with what they break; where and by whom each was last seen caught is in tests/sim/canaries.toml."""

from kelpie_sim.canaries import (
    belief_forever,
    deaf_reader,
    default_state,
    double_tool,
    dropped_call,
    early_sweep,
    endless_queue,
    forgetful_router,
    forgotten_link,
    forgotten_step,
    gap,
    hasty_takeover,
    impatient_reader,
    last_come_first,
    lost_queue,
    lost_reminder,
    lost_unfinished,
    no_dedupe,
    no_fence,
    orphan_rows,
    patient_circle,
    restless_phone,
    slow_control,
    speak_first,
    stale_block,
    swallowed_commit,
)
from kelpie_sim.canaries.plant import Canary

CANARIES: tuple[Canary, ...] = tuple(
    room.CANARY
    for room in (
        belief_forever, deaf_reader, default_state, double_tool, dropped_call, early_sweep, endless_queue,
        forgetful_router, forgotten_link, forgotten_step, gap, hasty_takeover, impatient_reader, last_come_first,
        lost_queue, lost_reminder, lost_unfinished, no_dedupe, no_fence, orphan_rows, patient_circle,
        restless_phone, slow_control, speak_first, stale_block, swallowed_commit,
    )
)  # fmt: skip
