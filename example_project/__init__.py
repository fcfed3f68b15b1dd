"""Marginalia, a small bookshop that leaves its chores to `operator_app`."""
