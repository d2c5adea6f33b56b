from __future__ import annotations

import pytest

from perceptlib.study.presets import Study, load_study


@pytest.fixture(scope="session")
def study() -> Study:
    """Four shapes that the network classifies correctly."""
    return load_study("shapes", num_images=4)
