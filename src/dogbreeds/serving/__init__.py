"""The model server: Multi Model Server with our handler, endpoints and life cycle.

`server` starts and stops it, `handler` is what its workers run.
"""

import sys

# torchvision's import of torch._dynamo loads triton where it is installed: 80 MB, of use to
# torch.compile on GPUs only, which is not used here. With None `import triton` raises ImportError.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
