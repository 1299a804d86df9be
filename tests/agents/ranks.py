"""The processes of a run as threads of one, which meet at each operation."""

import threading

import torch


class ThreadRanks:
    """One of several that share `board`."""

    def __init__(self, rank, board):
        self.rank, self.world_size, self._board = rank, len(board.values), board

    def _exchanged(self, value):
        """The values of all."""
        self._board.values[self.rank] = value
        self._board.barrier.wait(20)
        values = list(self._board.values)
        self._board.barrier.wait(20)
        return values

    def sum(self, value):
        return sum(self._exchanged(value))

    def min(self, value):
        return min(self._exchanged(value))

    def broadcast(self, value):
        return self._exchanged(value)[0]

    def gather(self, tensor):
        return torch.stack(self._exchanged(tensor.detach().clone()))

    def average(self, tensors):
        for tensor in tensors:
            tensor.copy_(self.gather(tensor).mean(0))

    def broadcast_tensors(self, tensors):
        for tensor in tensors:
            tensor.copy_(self.gather(tensor)[0])

    def check(self):
        pass

    def apart(self):
        board = self.broadcast(Board(self.world_size) if self.rank == 0 else None)
        return ThreadRanks(self.rank, board)


class Board:
    def __init__(self, number):
        self.values, self.barrier = [None] * number, threading.Barrier(number)


def in_ranks(work, number=2):
    """What `work`, given its ranks, returns in each of so many threads."""
    board, results, errors = Board(number), [None] * number, []

    def one(rank):
        try:
            results[rank] = work(ThreadRanks(rank, board))
        except BaseException as error:
            errors.append(error)
            board.barrier.abort()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
    return results
