"""The script that sagemaker-training runs; it copies this folder to ``/opt/ml/code``."""

import sys

from dogbreeds.entrypoint.job import main

if __name__ == "__main__":
    sys.exit(main())
