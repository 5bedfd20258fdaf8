"""Scores of a model while it trains."""
