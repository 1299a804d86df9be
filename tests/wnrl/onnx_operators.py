"""A fixture for tests that export to ONNX."""

import functools
import importlib

import pytest


@pytest.fixture(scope="module", autouse=True)
def operators_translated_once():
    """onnxscript reads the source of its 500 operators once, and not again in each export."""
    try:
        registration = importlib.import_module("torch.onnx._internal.exporter._registration")
        apis = registration.onnxscript_apis
        once = functools.cache(apis.get_torchlib_ops)
    except (ImportError, AttributeError):  # elsewhere in this torch
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apis, "get_torchlib_ops", once)
        yield
