import pytest

from wnrl import device
from wnrl.device import check_memory, free_memory


def test_what_fits_passes() -> None:
    assert free_memory("cpu") > 0
    check_memory(1, "cpu")


def test_the_message_names_need_free_and_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "free_memory", lambda device: 3_200_000_000)
    with pytest.raises(
        ValueError, match=r"steps needs 7.1 GB, 3.2 GB are free on cpu: use --replay-size 4507"
    ) as raised:
        check_memory(7_100_000_000, "cpu", steps=1_000_000)
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"a replay needs 7.1 GB, .* use a smaller --replay-size"):
        check_memory(7_100_000_000, "cpu")
