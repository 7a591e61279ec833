"""Benchmarks of lazybars: each ratio is measured in one run, both sides in one process.

``make bench`` runs them; RESULTS.md says how, and what came of it.
"""
