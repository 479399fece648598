"""Training, tuning and batch transform jobs."""
