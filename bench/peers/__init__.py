"""Schedulers of others, re-implemented from their papers as plain functions, to compare with in one simulator."""
