"""The model server: Multi Model Server with our handler, endpoints and life cycle.

`server` starts and stops it, `handler` is what its workers run.
"""
