"""Operators that are killed, paused, lied to and poisoned: nothing may be lost, nothing doubled."""
