"""Databases that go away, hang, lock, fill up: the operator waits, and every outcome is written."""
