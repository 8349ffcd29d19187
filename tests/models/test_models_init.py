import subprocess
import sys

import pytest

import dripstone.models


def test_importing_the_package_does_not_import_torch():
    code = "import sys, dripstone.models; assert 'torch' not in sys.modules; assert dripstone.models.__all__"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", dripstone.models.__all__)
def test_every_public_name_is_found_and_listed(name):
    assert callable(getattr(dripstone.models, name))
    assert name in dir(dripstone.models)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        dripstone.models.nothing_like_it  # noqa: B018


def test_no_public_name_is_hidden_by_the_file_it_comes_from():
    code = (
        "import dripstone.models.perceptron, dripstone.models.text, dripstone.models.image, dripstone.models as m\n"
        "assert all(not hasattr(getattr(m, n), '__path__') and callable(getattr(m, n)) for n in m.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
