import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
TRAINING = ["training", "torch", "transformers", "peft", "onnx", "optimum", "accelerate", "sklearn", "matplotlib", "model_signing"]
LOADED = "import sys, {}; print(*(name for name in {} if name in sys.modules))"


@pytest.mark.parametrize("module", ["api.app", "batch.__main__", "classify", "__main__"])
def test_serving_never_loads_the_training_stack(module):
    check_not_loaded(module, TRAINING)


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("batch.__main__", ["sqlalchemy", "pyarrow", "ray", "fsspec"]),
        ("classify", ["sqlalchemy"]),
        ("__main__", ["sqlalchemy", "alembic", "psycopg"]),
    ],
)
def test_no_command_waits_for_a_database_library_that_it_does_not_need(module, unneeded):
    check_not_loaded(module, unneeded)


def check_not_loaded(module, names):
    code = LOADED.format(f"semantic_service.{module}", names)
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout.strip(), found.stderr) == (0, "", "")
