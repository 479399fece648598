"""A page to try a model with: drop a photo, see the breed."""
