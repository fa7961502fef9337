"""Read batches ahead of a training loop whose batch size and resolution change with time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from stylegan.data.dataset import Dataset

DEPTH = 4  # batches read ahead
Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Request:
    """One batch to read: which images, at which (height, width)."""

    indices: np.ndarray  # int64 [N]
    size: tuple[int, int]


class Loader:
    """Iterates over (uint8 [N, C, h, w], float32 labels [N, classes]) in the order of `requests`.

    At most `depth` batches are read ahead, so memory is bounded and `requests` may be endless; it is advanced
    in the consumer's thread only. An error of a request or of reading it comes out in its turn and closes the
    loader. `after` is applied to each batch in the thread that read it. Use as a context manager, or call close().
    """

    def __init__(
        self,
        dataset: Dataset,
        requests: Iterator[Request],
        depth: int = DEPTH,
        threads: int = 2,
        after: Callable[[Batch], Any] | None = None,
    ) -> None:
        if depth < 1 or threads < 1:
            raise ValueError(f"depth {depth}, threads {threads}: both must be at least 1")
        self._dataset = dataset
        self._requests: Iterator[Request] | None = iter(requests)
        self._depth = depth
        self._after = after
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stylegan-loader")
        self._ahead: deque[Future[Any]] = deque()
        self._fill()

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Any:
        if not self._ahead:
            self.close()
            raise StopIteration
        try:
            batch = self._ahead.popleft().result()
        except BaseException:
            self.close()
            raise
        self._fill()
        return batch

    def _fill(self) -> None:
        while self._requests is not None and len(self._ahead) < self._depth:
            try:
                request = next(self._requests)
            except StopIteration:
                self._requests = None
            except Exception as error:
                self._requests = None
                failed: Future[Any] = Future()
                failed.set_exception(error)
                self._ahead.append(failed)
            else:
                self._ahead.append(self._pool.submit(self._read, request))

    def _read(self, request: Request) -> Any:
        batch = self._dataset.read(request.indices, request.size), self._dataset.labels(request.indices)
        return batch if self._after is None else self._after(batch)

    def close(self) -> None:
        """Stop reading and wait for the threads; may be called again."""
        self._requests = None
        self._ahead.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
