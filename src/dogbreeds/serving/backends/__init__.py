"""Engines that run a model: one module per engine."""
