"""Signals at the seams of an attempt, and of a circuit. Sent robustly: a receiver that raises is
logged, no more.

The sender is the kind's class, where this process knows it; nothing is sent where it does not.
`operation` is an instance of it (of `Operation`, where it could not
be loaded) and `job` the `OperationJob`. Nothing is sent, or loaded for it, where nobody listens.
"""

from __future__ import annotations

from django.dispatch import Signal

operation_claimed = Signal()
"""An operator has claimed an operation: `operation`, `job`. In the operator's main thread."""

operation_started = Signal()
"""`run()` is about to be called: `operation`, `job`. Where the job runs."""

operation_ended = Signal()
"""The outcome was recorded: `operation`, `job`, `outcome`. Where the job ran; at most once per
attempt, and only if the claim was still held."""

circuit_opened = Signal()
"""So many operations of a kind have failed that it is paused: `pause`. After the commit, in the
operator's main thread. Not sent again while its trials fail."""

circuit_closed = Signal()
"""A kind goes on, as a trial has succeeded or somebody has ended the pause: `pause`, which is
deleted. After the commit, where that was done."""
