"""The model server: Multi Model Server with our handler, endpoints and life cycle."""

import sys

# torchvision imports torch._dynamo, which loads triton if installed: 80 MB that only torch.compile
# on GPUs uses, which serving does not. With None, `import triton` raises ImportError.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
