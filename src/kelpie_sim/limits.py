"""The bounds of a simulation, with their units. A run that passes one fails; it never goes on for ever."""

STEPS_MAX = 2_000_000  # callbacks run in one simulation, unless the caller asks for another bound
VIRTUAL_MS_MAX = 3_600_000
LOOP_START_S = 1_000.0  # what loop.time() says at the start: not zero, so that nobody takes it for "never"
CALENDAR_START_MS = 1_767_225_600_000  # 2026-01-01T00:00Z

LATE_SLOTS_MAX = 64  # how many later callbacks may overtake one step of a task
TIMERS_CANCELLED_MAX = 256  # cancelled timers kept before the timer heap is rebuilt
TASKS_CREATED_PER_PRUNE = 1_024  # finished tasks are forgotten after so many new ones
STEPS_PER_COLLECTION = 250_000  # the garbage collector runs at these steps only
STEPS_PER_CHECKPOINT = 1_000  # how finely two traces can be compared without keeping their lines
ERRORS_MAX = 20  # a run with so many errors is stopped
DEADLOCK_TASKS_SHOWN = 20

LINK_DELAY_US_MIN = 50
LINK_DELAY_US_MAX = 1_500
STORE_FLUSH_US_MIN = 300
STORE_FLUSH_US_MAX = 2_500
STORE_PATIENCE_MS = 5_000  # how long a store's client waits for an answer before it raises

assert LINK_DELAY_US_MIN < LINK_DELAY_US_MAX
assert STORE_FLUSH_US_MIN < STORE_FLUSH_US_MAX
assert STORE_PATIENCE_MS * 1_000 > 100 * (2 * LINK_DELAY_US_MAX + STORE_FLUSH_US_MAX), "patience is for faults only"
