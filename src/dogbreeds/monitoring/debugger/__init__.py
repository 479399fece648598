"""SageMaker Debugger: the only modules that import smdebug."""
