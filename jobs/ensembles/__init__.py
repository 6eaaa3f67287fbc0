"""Combining the forecasts of other models: reading them, walking forward, comparing with the best of them."""
