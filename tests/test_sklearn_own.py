"""scikit-learn's own tests of its multi-layer perceptrons, as installed, on fastmlp's classes."""

import importlib
import sys

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import fastmlp as fm

# They reach into what only scikit-learn's classes have. What they are about is tested by public
# means in test_sklearn.py, in the test named here.
PRIVATE = {
    # _loss_grad_lbfgs
    "test_gradient": "test_gradients_are_those_of_the_loss",
    # _optimizer
    "test_learning_rate_warmstart": "test_a_warm_start_has_scikit_learns_rates",
    "test_adaptive_learning_rate": "test_adaptive_training_ends_at_scikit_learns_rate",
}
# What a test may say to a user, these say too: scikit-learn's own suite does not mind them.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def their_tests():
    """Their module, imported while its two classes are replaced by ours."""
    name = "sklearn.neural_network.tests.test_mlp"
    sys.modules.pop(name, None)
    fm.patch_sklearn()
    try:
        return importlib.import_module(name)
    finally:
        fm.unpatch_sklearn()
        sys.modules.pop(name, None)


THEIRS = their_tests()
TESTS = {name: test for name, test in vars(THEIRS).items() if name.startswith("test_")}
globals().update({name: test for name, test in TESTS.items() if name not in PRIVATE})


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's suite takes where none is asked for."""
    return 42


def test_it_is_our_classes_that_are_tested():
    assert THEIRS.MLPClassifier is fm.MLPClassifier
    assert THEIRS.MLPRegressor is fm.MLPRegressor


def test_every_test_left_out_is_there_and_has_a_twin():
    twins = importlib.import_module("test_sklearn")
    assert set(TESTS) >= set(PRIVATE)
    assert all(hasattr(twins, twin) for twin in PRIVATE.values())
    assert len(TESTS) - len(PRIVATE) > 35
