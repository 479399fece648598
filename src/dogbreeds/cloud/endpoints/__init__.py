"""Endpoints and the models behind them."""
