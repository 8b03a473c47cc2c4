"""Builders, scenarios, contract suites and strategies for tests; nothing in the product imports it."""
