"""The comparison of whole processes: sizes, stores, cells, records and plots."""
