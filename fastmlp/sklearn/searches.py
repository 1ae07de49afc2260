"""scikit-learn's searches for parameters, several fits at a time in one process."""

from __future__ import annotations

from typing import Any, Self

from sklearn import model_selection
from sklearn.model_selection import _search_successive_halving as halving

from .at_once import at_once


class _Search:
    """What the searches share: how their fits are run."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Fit with all sets of parameters, then with the best on all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Nobody may write to it meanwhile, nor to ``y``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
        **params : dict
            For the estimator's ``fit``, the scorer and the splitter, as scikit-learn's.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            As scikit-learn's search; with ``error_score="raise"`` also the error of a fit.
        KeyboardInterrupt
            On Ctrl-C, once the fits under way have ended: fastmlp's after their last whole
            minibatch, others as if nothing had happened.
        """
        with at_once():
            # The next class is scikit-learn's.
            return super().fit(X, y, **params)  # type: ignore[misc,no-any-return]


class GridSearchCV(_Search, model_selection.GridSearchCV):
    """scikit-learn's ``GridSearchCV`` with fits on several threads of this process.

    Parameters, attributes, errors and ``cv_results_`` are scikit-learn's, and each fit gives the
    same bits as alone. Any estimator will do. One of fastmlp's, also in a pipeline, has a processor
    of its own, for its kernels run without the GIL; others gain as far as they do without it.

    Parameters
    ----------
    estimator, param_grid, scoring, refit, cv, verbose, pre_dispatch, error_score, \
return_train_score
        As scikit-learn's.
    n_jobs : int, optional
        Fits at a time; while there are several, a network has one thread. -1 is one a processor,
        -2 one less. With 1 they are run one after the other, each on ``n_threads``. Default:
        `fastmlp.get_num_threads`.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is wrong.

    Examples
    --------
    >>> import fastmlp as fm
    >>> (X, y), (Xv, yv) = fm.datasets.digits()
    >>> clf = fm.MLPClassifier(early_stopping=True, random_state=0)
    >>> grid = {"hidden_layer_sizes": [(16,), (64,)], "alpha": [1e-4, 1e-2]}
    >>> search = fm.GridSearchCV(clf, grid, cv=3).fit(X, y)
    >>> search.best_params_["hidden_layer_sizes"]
    (64,)
    >>> search.score(Xv, yv) > 0.9
    True
    """


class RandomizedSearchCV(_Search, model_selection.RandomizedSearchCV):
    """scikit-learn's ``RandomizedSearchCV`` with fits on several threads of this process.

    As `GridSearchCV`.

    Parameters
    ----------
    estimator, param_distributions, n_iter, scoring, refit, cv, verbose, pre_dispatch, \
random_state, error_score, return_train_score
        As scikit-learn's.
    n_jobs : int, optional
        As `GridSearchCV`'s.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is wrong.

    Examples
    --------
    >>> import fastmlp as fm
    >>> (X, y), _ = fm.datasets.digits()
    >>> clf = fm.MLPClassifier(early_stopping=True, random_state=0)
    >>> choices = {"hidden_layer_sizes": [(8,), (16,), (32,)], "alpha": [1e-5, 1e-4, 1e-3, 1e-2]}
    >>> search = fm.RandomizedSearchCV(clf, choices, n_iter=3, cv=3, random_state=0).fit(X, y)
    >>> len(search.cv_results_["params"])
    3
    """


class HalvingGridSearchCV(_Search, halving.HalvingGridSearchCV):
    """scikit-learn's ``HalvingGridSearchCV`` with fits on several threads of this process.

    As `GridSearchCV`. ``sklearn.experimental`` need not be imported for it.

    Parameters
    ----------
    estimator, param_grid, factor, resource, max_resources, min_resources, \
aggressive_elimination, cv, scoring, refit, error_score, return_train_score, random_state, verbose
        As scikit-learn's.
    n_jobs : int, optional
        As `GridSearchCV`'s.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is wrong.

    Examples
    --------
    >>> import fastmlp as fm
    >>> (X, y), _ = fm.datasets.digits()
    >>> clf = fm.MLPClassifier(early_stopping=True, random_state=0)
    >>> grid = {"hidden_layer_sizes": [(4,), (8,), (32,)]}
    >>> search = fm.HalvingGridSearchCV(clf, grid, cv=3, random_state=0).fit(X, y)
    >>> search.best_params_
    {'hidden_layer_sizes': (32,)}
    """
