"""Sweeps: trials in processes of their own, what they come to, and what they leave: nothing."""
