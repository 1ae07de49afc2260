"""scikit-learn's bagging, its members trained several at a time in one process."""

from __future__ import annotations

from typing import Any, Self

from sklearn import ensemble

from .at_once import at_once, one_by_one
from .classifier import MLPClassifier
from .regressor import MLPRegressor


class _Bagging:
    """What the two share: how their members are trained."""

    estimator: Any

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Self:
        """Train the members, each on rows drawn for it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Nobody may write to it meanwhile, nor to ``y``.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
            Rows are drawn in proportion to it.
        **fit_params : dict
            For the members' ``fit``, as scikit-learn's.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            As scikit-learn's bagging, or the error of a member's ``fit``.
        KeyboardInterrupt
            On Ctrl-C, once the trainings under way have ended: fastmlp's after their last whole
            minibatch, others as if nothing had happened.
        """
        with at_once():
            # The next class is scikit-learn's.
            return super().fit(X, y, sample_weight, **fit_params)  # type: ignore[misc,no-any-return]


class BaggingClassifier(_Bagging, ensemble.BaggingClassifier):
    """scikit-learn's ``BaggingClassifier``, its members trained on several threads of this process.

    Parameters, attributes and errors are scikit-learn's, and with the same ``random_state`` so are
    the members. Any classifier will do; fastmlp's have a processor each, for their kernels run
    without the GIL.

    Parameters
    ----------
    estimator : object, optional
        What the members are copies of. Default: `MLPClassifier` as it is.
    n_estimators, max_samples, max_features, bootstrap, bootstrap_features, oob_score, warm_start, \
random_state, verbose
        As scikit-learn's.
    n_jobs : int, optional
        Members trained at a time; while there are several, a network has one thread. -1 is one a
        processor, -2 one less. With 1 they are trained one after the other, each on ``n_threads``.
        Default: `fastmlp.get_num_threads`. Predictions are made one after the other, and do not
        depend on it.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is wrong.

    Examples
    --------
    >>> import fastmlp as fm
    >>> (X, y), (Xv, yv) = fm.datasets.digits()
    >>> member = fm.MLPClassifier((32,), early_stopping=True)
    >>> clf = fm.BaggingClassifier(member, n_estimators=8, random_state=0).fit(X, y)
    >>> clf.score(Xv, yv) > 0.9
    True
    """

    def _get_estimator(self) -> Any:
        return MLPClassifier() if self.estimator is None else self.estimator

    def predict_proba(self, X: Any, **params: Any) -> Any:
        """Return the mean of the members' probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        **params : dict
            For the members, as scikit-learn's.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        with one_by_one():
            return super().predict_proba(X, **params)

    def predict_log_proba(self, X: Any, **params: Any) -> Any:
        """Return the logarithm of the mean of the members' probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        **params : dict
            For the members, as scikit-learn's.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        with one_by_one():
            return super().predict_log_proba(X, **params)


class BaggingRegressor(_Bagging, ensemble.BaggingRegressor):
    """scikit-learn's ``BaggingRegressor``, its members trained on several threads of this process.

    As `BaggingClassifier`.

    Parameters
    ----------
    estimator : object, optional
        What the members are copies of. Default: `MLPRegressor` as it is.
    n_estimators, max_samples, max_features, bootstrap, bootstrap_features, oob_score, warm_start, \
random_state, verbose
        As scikit-learn's.
    n_jobs : int, optional
        As `BaggingClassifier`'s.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is wrong.

    Examples
    --------
    >>> import numpy as np, fastmlp as fm
    >>> X = np.linspace(-3, 3, 200)[:, None]
    >>> y = np.sin(X[:, 0])
    >>> member = fm.MLPRegressor(activation="tanh", solver="lbfgs")
    >>> reg = fm.BaggingRegressor(member, n_estimators=4, random_state=0).fit(X, y)
    >>> reg.score(X, y) > 0.99
    True
    """

    def _get_estimator(self) -> Any:
        return MLPRegressor() if self.estimator is None else self.estimator

    def predict(self, X: Any, **params: Any) -> Any:
        """Return the mean of the members' predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        **params : dict
            For the members, as scikit-learn's.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        with one_by_one():
            return super().predict(X, **params)
