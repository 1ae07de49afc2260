"""The memory that training takes is what its parts add up to, and the data are not copied."""

import pytest

import fastmlp as fm
from bench import memory


@pytest.mark.parametrize("case", memory.CASES, ids=str)
def test_the_peak_of_training_is_what_its_parts_add_up_to(case):
    try:
        record = memory.measure(case)
    except NotImplementedError as reason:
        pytest.skip(str(reason))
    wanted = sum(record["formula"].values())
    assert wanted > 40e6, "so much that what is not in the formula does not count"
    assert abs(record["peak"] / wanted - 1) <= memory.WITHIN
    # The data were there before `fit` began: what it adds tells whether it has copied them.
    n_bytes = 4 * case.rows * (case.sizes[0] + case.sizes[-1])
    snapshot = fm.MLP(case.sizes).params.nbytes
    own = sum(record["formula"][term] for term in ("packs", "minibatch", "order")) + snapshot
    assert (record["fit"] > own + n_bytes / 2) == case.foreign
