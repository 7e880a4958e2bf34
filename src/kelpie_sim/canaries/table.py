"""All canaries, with what they break; where and by whom each was last seen caught is in tests/sim/canaries.toml."""

from kelpie_sim.canaries import (
    belief_forever,
    changing_question,
    deaf_reader,
    deaf_to_repeats,
    default_state,
    deposed_owner,
    double_tool,
    dropped_call,
    early_bird,
    early_sweep,
    endless_queue,
    forgetful_router,
    forgotten_link,
    forgotten_step,
    gap,
    half_batch,
    hasty_cancel,
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
    served_twice,
    slow_control,
    speak_first,
    stale_block,
    stale_index,
    stubborn_errand,
    swallowed_commit,
    unheeded_no,
    unseen_owner,
)
from kelpie_sim.canaries.plant import Canary

CANARIES: tuple[Canary, ...] = tuple(
    room.CANARY
    for room in (
        belief_forever, changing_question, deaf_reader, deaf_to_repeats, default_state, deposed_owner,
        double_tool, dropped_call, early_bird, early_sweep, endless_queue, forgetful_router, forgotten_link,
        forgotten_step, gap, half_batch, hasty_cancel, hasty_takeover, impatient_reader, last_come_first,
        lost_queue, lost_reminder, lost_unfinished, no_dedupe, no_fence, orphan_rows, patient_circle,
        restless_phone, served_twice, slow_control, speak_first, stale_block, stale_index, stubborn_errand,
        swallowed_commit, unheeded_no, unseen_owner,
    )
)  # fmt: skip
