"""Trainings side by side, each given as soon as it is done. It knows no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from togi.reward_design.subject import Job, Made


def side_by_side(
    jobs: Sequence[Job], make: Callable[[Job], Made], workers: int, stop: Callable[[], None]
) -> Iterator[tuple[Job, Made]]:
    """What ``make`` makes of each job, in ``workers`` threads. ``stop`` ends what is at work: it is called at the end,
    also where something was raised."""
    pool = ThreadPoolExecutor(max(1, min(workers, len(jobs))), thread_name_prefix="training")
    try:
        running = {pool.submit(make, job): job for job in jobs}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        stop()
        pool.shutdown(wait=True)
