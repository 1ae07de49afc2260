"""What the tests of data and of control train with."""

import fastmlp as fm

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


class HearMinibatches(fm.Callback):
    """Makes ``fit`` a Python loop over minibatches."""

    def on_batch_end(self, trainer, loss):
        pass


def make_trainer(
    dtype="float64", sizes=(4, 9, 3), *, loss=None, optimizer=None, schedule=None, batch_size=16,
    seed=1, n_threads=1, l1=0.0, l2=0.0, penalties_over_rows=False, clip_value=None, clip_norm=None,
    max_norm=None, **network,
):  # fmt: skip
    mlp = fm.MLP(sizes, **{"activation": "tanh", "seed": 0, **network}, dtype=dtype)
    return fm.Trainer(
        mlp,
        loss=loss,
        optimizer=optimizer or fm.SGD(lr=0.05, momentum=0.9),
        schedule=schedule,
        batch_size=batch_size,
        l1=l1,
        l2=l2,
        penalties_over_rows=penalties_over_rows,
        clip_value=clip_value,
        clip_norm=clip_norm,
        max_norm=max_norm,
        seed=seed,
        n_threads=n_threads,
    )
