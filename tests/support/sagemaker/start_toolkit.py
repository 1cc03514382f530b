"""Start the toolkit as AWS's image does, except that it does not write into /etc.

    python start_toolkit.py FOLDER

Its port and paths come from the environment: SAGEMAKER_BASE_DIR, SAGEMAKER_BIND_TO_PORT, TS_*.
"""

import os
import sys
from pathlib import Path

from sagemaker_pytorch_serving_container import serving, torchserve

folder = Path(sys.argv[1])
os.chdir(folder)
torchserve.TS_CONFIG_FILE = os.fspath(folder / "sagemaker-ts.properties")
torchserve.MODEL_STORE = os.fspath(folder / ".sagemaker" / "ts" / "models")
serving.main()
