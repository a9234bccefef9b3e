# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import importlib
import signal

import cv2
import pytest
import torch

from .command import BENCHMARKS


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    at_sigterm = signal.getsignal(signal.SIGTERM)
    yield importlib.import_module
    signal.signal(signal.SIGTERM, at_sigterm)
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv_threads)
