"""Ours beside other job queues, in one run on one machine: `python -m benchmarks.peers`."""
