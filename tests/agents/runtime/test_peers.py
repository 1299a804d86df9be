import os
import queue
import signal
import socket
import threading
import time
import warnings

import pytest

from agents.runtime import peers as peers_module
from agents.runtime.peers import Peers


def connected(number):
    """The first one's peers, and those of the others, in this process."""
    value, made = queue.Queue(), {}

    def first(told):
        for _ in range(number):
            value.put(told)
        return told

    def begin(rank):
        made[rank] = Peers(rank, number + 1, "127.0.0.1", lambda _: value.get() if rank else first(_))

    threads = [threading.Thread(target=begin, args=(rank,)) for rank in range(number + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


def wait_for(condition):
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_end_of_any_process_is_seen_by_the_first():
    for ended in (1, 2, 3):
        peers = connected(3)
        assert [one.one_is_gone() for one in peers.values()] == [False] * 4
        peers[ended].close()
        wait_for(peers[0].one_is_gone)
        assert peers[0].one_is_gone()  # and again
        for one in peers.values():
            one.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_fork_does_not_keep_a_connection_open():
    peers = connected(1)
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    try:
        peers[1].close()  # here; the child lives on
        wait_for(peers[0].one_is_gone)
    finally:
        peers[0].close()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_stranger_takes_nobodys_place():
    made = []

    def strangers_first(told):
        for words in (b"x" * 16, b""):
            with socket.create_connection(("127.0.0.1", told[0])) as stranger:
                stranger.sendall(words)
        made.append(socket.create_connection(("127.0.0.1", told[0])))
        made[0].sendall(told[1])
        return told

    peers = Peers(0, 2, "127.0.0.1", strangers_first)
    assert not peers.one_is_gone()
    made[0].close()
    wait_for(peers.one_is_gone)
    peers.close()


def test_processes_that_cannot_connect_say_so_and_go_on(monkeypatch):
    monkeypatch.setattr(peers_module, "PATIENCE", 0.1)
    told = []
    with pytest.warns(UserWarning, match="a process that ends is noticed only after an evaluation: timed out"):
        peers = Peers(0, 2, "127.0.0.1", told.append)  # nobody comes
    assert not peers.one_is_gone()
    with pytest.warns(UserWarning, match="a process that ends is noticed only after an evaluation: "):
        Peers(0, 2, "192.0.2.1", told.append)  # an address that is not this machine's
    assert told[1] == (0, b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not Peers(1, 2, "192.0.2.1", lambda _: told[1]).one_is_gone()
    with pytest.warns(UserWarning, match="a process that ends is noticed only after an evaluation: .*refused"):
        Peers(1, 2, "127.0.0.1", lambda _: (9, b"token"))
