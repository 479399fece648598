"""The container contract on the host, without containers: the real `train`, the real server."""
