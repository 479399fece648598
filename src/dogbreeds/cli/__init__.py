"""The ``dogbreeds`` command line."""
