"""Conversations of programs that send each message once, without a key, and take every answer at its word."""

from kelpie_sim.workloads.conversations import Conversations


class Hurried(Conversations):
    """What is answered with "nothing happened" must not have happened."""

    modes = ("bare",)
