"""Tests of ``lazybars compare``."""
