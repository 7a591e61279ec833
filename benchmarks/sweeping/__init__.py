"""What ``python -m benchmarks.sweeps`` is made of: a strategy, sides in processes of their own, PSS."""
