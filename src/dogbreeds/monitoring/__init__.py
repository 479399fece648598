"""Watching a training job: Debugger's tensors and rules, system metrics, traces, TensorBoard."""
