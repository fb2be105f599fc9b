"""A protocol as a command: one thread, a progress bar, and what was asked wrongly as an exit with 2."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from vitalwire_cloud.evaluation import report
from vitalwire_cloud.evaluation.judged import JudgedModelError
from vitalwire_cloud.evaluation.report import Advance
from vitalwire_cloud.train.dataset import NoRecordError, TrainingDataError
from vitalwire_edge.inference.generator import StyleError
from vitalwire_edge.signal.resample import SampleRateError


@contextmanager
def running(title: str) -> Iterator[Callable[[int], Advance]]:
    """A protocol at work; the block is given what starts its progress bar."""
    torch.set_num_threads(1)
    try:
        with report.progress(title) as steps:
            yield steps
    except (
        NoRecordError,
        TrainingDataError,
        JudgedModelError,
        StyleError,
        SampleRateError,
        OSError,
    ) as error:
        report.wrong(str(error))
