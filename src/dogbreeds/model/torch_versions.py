"""What changed in PyTorch from 2.6 to 2.15 among the things that we use, in one place."""

import torch


def disable_tf32() -> None:
    """Compute float32 with 24 bits of mantissa on GPUs too, not with TensorFloat-32's 11.

    TF32 is on for convolutions, and in NVIDIA's images (``TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1``) for
    matrix products. 2.9 added ``fp32_precision``, which must not be mixed with these attributes
    (https://docs.pytorch.org/docs/stable/notes/cuda.html); only they exist in all versions.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
