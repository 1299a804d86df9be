import pytest
import torch

from agents.runtime import devices
from agents.runtime.devices import device_name, resolve_device, resolve_dtype, resolve_graphs

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch):
    for there, name in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert resolve_device("auto") == torch.device(name)


def test_a_named_device():
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda:77", "nonsense", "", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(ValueError, match=r"is not available; this machine has cpu") as refusal:
        resolve_device(name)
    assert repr(name) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_device_without_float64_is_refused(monkeypatch):
    """As `mps` does, which no machine of the tests has."""
    zeros = torch.zeros

    def lacking(*size, dtype=None, device=None):
        if dtype is torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return zeros(*size, dtype=dtype)

    monkeypatch.setattr(torch, "zeros", lacking)
    with pytest.raises(ValueError, match=r"^device 'mps' has no float64, which replay and returns need: use cpu"):
        resolve_device("mps")


def test_a_device_in_words(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert device_name(CPU) == "cpu, 3 threads"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert device_name(CPU) == "cpu, 1 thread"
    assert device_name(torch.device("cuda:1")) == "cuda:1, GPU 1"
    assert device_name(torch.device("meta")) == "meta"


@pytest.mark.parametrize(
    ("precision", "images", "hardware", "dtype"),
    [
        ("auto", True, True, torch.bfloat16),
        ("auto", True, False, torch.float32),
        ("auto", False, True, torch.float32),
        ("float32", True, True, torch.float32),
        ("bfloat16", False, False, torch.bfloat16),
    ],
)
def test_the_type_of_products(monkeypatch, precision, images, hardware, dtype):
    monkeypatch.setattr(devices, "_multiplies_bfloat16", lambda device: hardware)
    assert resolve_dtype(precision, CPU, images) == dtype


@pytest.mark.parametrize(
    ("graphs", "device", "captured"),
    [(None, CPU, False), (False, CPU, False), (None, CUDA, True), (True, CUDA, True), (False, CUDA, False)],
)
def test_graphs_are_captured_on_cuda_unless_refused(graphs, device, captured):
    assert resolve_graphs(graphs, device) is captured


def test_graphs_are_not_asked_for_elsewhere():
    with pytest.raises(ValueError, match="captured on CUDA alone, and the device is cpu: leave --graphs out"):
        resolve_graphs(True, CPU)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="'float16': choose from auto, float32, bfloat16"):
        resolve_dtype("float16", CPU, images=True)


def test_a_cpu_that_cannot_say_computes_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert resolve_dtype("auto", CPU, images=True) == torch.float32
