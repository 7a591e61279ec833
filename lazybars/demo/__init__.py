"""The demonstration: one strategy on eager and on lazy bars, each in a process of its own."""
