"""What torch's own layers can do under autocast on this machine."""

import functools

import pytest
import torch
from torch import nn


@functools.cache
def lstm_refusal():
    """Why torch's LSTM does not run under autocast to bfloat16 here; empty where it does.

    On processors without AVX-512 oneDNN has no such LSTM, and torch does not fall back to its own.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        try:
            nn.LSTM(8, 16)(torch.zeros(5, 3, 8))
        except RuntimeError as error:
            return str(error).split(".")[0]
    return ""


def needs_autocast_lstm(wanted=True):
    """Skip the test where it is `wanted` that torch's LSTM runs under autocast, and it does not."""
    if wanted and (refusal := lstm_refusal()):
        pytest.skip(f"torch: {refusal}")
