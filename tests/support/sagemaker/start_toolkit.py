"""Start the toolkit as AWS's image does, except that it does not write into /etc.

    python start_toolkit.py FOLDER

Its port and paths come from the environment: SAGEMAKER_BASE_DIR, SAGEMAKER_BIND_TO_PORT, TS_*.

The toolkit looks for its TorchServe among all processes that it can see, and stops what it found.
In a container these are its own. Here they are those of this session (setsid(2)), or it would stop
the server of a test that runs beside this one.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from sagemaker_pytorch_serving_container import serving, torchserve


def processes_of_this_session() -> Iterator[psutil.Process]:
    """Yield what a container would show of the system's processes."""
    for pid in psutil.pids():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(pid) == os.getsid(0):
                yield psutil.Process(pid)


folder = Path(sys.argv[1])
torchserve.psutil.process_iter = processes_of_this_session
os.chdir(folder)
torchserve.TS_CONFIG_FILE = os.fspath(folder / "sagemaker-ts.properties")
torchserve.MODEL_STORE = os.fspath(folder / ".sagemaker" / "ts" / "models")
serving.main()
