"""The classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call

from .. import arrays
from ..losses import LOSSES, Loss
from . import labels
from .base import BaseMLP
from .epochs import accuracy_of
from .losses import Objective, of_classes

# Outputs within 0 and 1.
PROBABILITIES = ("softmax", "sigmoid", "logistic", "hard_sigmoid")


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A classifier with scikit-learn's parameters, attributes and numbers, and fastmlp's kernels.

    Takes the place of ``sklearn.neural_network.MLPClassifier``: the same ``random_state`` gives the
    same initial weights, rows held out and order of rows, and losses equal within rounding. The
    parameters from ``output`` on are fastmlp's own, and off by default.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int or int, default (100,)
        Neurons of each hidden layer; ``()`` for none.
    activation : str, Activation or sequence of them, default "relu"
        Of the hidden layers: scikit-learn's ``"identity"``, ``"logistic"``, ``"tanh"``, ``"relu"``,
        or any that `MLP` knows; one for all, or one for each.
    solver : {"adam", "sgd", "lbfgs"}, default "adam"
    alpha : float, default 0.0001
        ``alpha / 2 · ‖W‖²`` is added to the loss, divided by the minibatch's rows or by the sum of
        their weights.
    batch_size : int or "auto", default "auto"
        Rows in a minibatch; "auto" is 200, or all rows if there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        For ``solver="sgd"``. "invscaling": ``learning_rate_init / (t_ + 1) ** power_t`` after every
        epoch. "adaptive": divided by 5 where training would stop for want of improvement, until it
        is 1e-6.
    learning_rate_init : float, default 0.001
    power_t : float, default 0.5
    max_iter : int, default 200
        Epochs, or iterations of L-BFGS, at most.
    shuffle : bool, default True
        Visit the rows in a new order every epoch.
    random_state : int, RandomState instance or None, default None
        For initial weights, the rows held out and the order of rows: the same numbers as
        scikit-learn draws. With dropout also for that.
    tol : float, default 1e-4
        What counts as an improvement of the loss, or of the score with ``early_stopping``; with
        "lbfgs" the gradient's largest element at which training ends.
    verbose : bool, default False
        Print loss and score after every epoch.
    warm_start : bool, default False
        Let `fit` go on with the network as it is. What a network is made of
        (``hidden_layer_sizes``, ``activation``, ``dropout``, …) is then not looked at.
    momentum : float, default 0.9
        For ``solver="sgd"``; at least 0 and below 1.
    nesterovs_momentum : bool, default True
    early_stopping : bool, default False
        Hold out rows, and stop when their score has not improved for ``n_iter_no_change`` epochs in
        a row. The network is then the one of the best score. Not for "lbfgs".
    validation_fraction : float, default 0.1
        The share of rows to hold out.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Adam's rates of forgetting.
    epsilon : float, default 1e-8
        Adam's, added before the bias correction.
    n_iter_no_change : int or inf, default 10
        How many epochs in a row may bring no improvement.
    max_fun : int, default 15000
        Evaluations of the loss by "lbfgs" at most.
    output : str or Activation, optional
        The activation of the last layer. Default: softmax for several classes, else logistic.
    loss : str or Loss, optional
        One of fastmlp's. Default: scikit-learn's ``"log_loss"``, cross-entropy.
    dropout : float or sequence of float, default 0
        The probability with which training drops an output of a hidden layer, one for all or one
        for each.
    batch_norm : bool, default False
        Batch normalisation before the activation of every hidden layer.
    class_weight : dict, list of dict or "balanced", optional
        A weight for each class, which multiplies those of its rows; as scikit-learn's
        ``compute_sample_weight``. Rows held out keep theirs.
    weight_decay : float, default 0
        Decoupled: before each step ``w -= rate · weight_decay · w``. Not for "lbfgs".
    init : str or sequence of str, optional
        How initial weights are drawn, by fastmlp's names (``"he_normal"``, …); biases are then 0.
        Default: scikit-learn's way.
    scale : {"standard"} or float, optional
        What inputs are scaled by on their way in, as for `MLP`.
    schedule : str, Schedule or callable, optional
        One of `fastmlp.schedules`, in place of ``learning_rate``. Not for "lbfgs".
    scoring : str or callable, optional
        scikit-learn's name of a score, or a function of (estimator, X, y), for the rows held out.
        Default: the accuracy.
    target_loss : float, optional
        Stop after an epoch with a loss of at most this.
    max_seconds : float, optional
        Stop when so much time has passed.
    dtype : {"float32", "float64"}, optional
        The element type of the network. Default: that of ``X``, float64 for other types and with
        "lbfgs".
    n_threads : int, optional
        Default: `fastmlp.get_num_threads`. The results are the same for any number.
    continue_exactly : bool, default False
        Let ``warm_start`` and ``partial_fit`` go on as if training had never stopped: with the
        optimizer's vectors, the learning rate, the random sequence, the count of epochs without
        improvement and the rows held out of the call before.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        The class labels; for several columns of several classes each, a list.
    coefs_, intercepts_ : list of ndarray
        Weights (n_in, n_out) and biases (n_out,) of each layer: views of ``mlp_``'s. What is
        assigned to one of them, or to an entry, takes effect.
    loss_ : float
        The loss of the last epoch.
    loss_curve_ : list of float
        The loss of every epoch; not with "lbfgs".
    best_loss_ : float or None
        The lowest; None with ``early_stopping``.
    validation_scores_, best_validation_score_ : list of float and float, or None
        With ``early_stopping``: the score of the rows held out after every epoch, and the best.
    validation_loss_curve_ : list of float or None
        Their loss, without penalties; also with ``eval_set`` alone.
    n_iter_ : int
        Epochs, or iterations, of the last call.
    t_ : int
        Rows seen, each as often as it was.
    n_layers_, n_outputs_ : int
        Layers, the inputs among them; outputs of the network.
    out_activation_ : str
    n_features_in_, feature_names_in_ : int and ndarray of str
        Columns of ``X``, and their names where it had any.
    history_ : fastmlp.History
        Every number measured after the epochs of the last `fit`.
    stop_reason_ : str
        Why it ended: ``"epochs"``, ``"converged"``, ``"early_stopping"``, ``"target_loss"``,
        ``"max_seconds"``, ``"interrupted"`` or ``"diverged"``.
    mlp_ : fastmlp.MLP
        The network itself, with all that it can do.

    Raises
    ------
    ValueError, TypeError
        By `fit`, if a parameter is wrong.

    Examples
    --------
    >>> import fastmlp as fm
    >>> (X, y), (Xv, yv) = fm.datasets.digits()
    >>> clf = fm.MLPClassifier(early_stopping=True, random_state=0).fit(X, y)
    >>> clf.score(Xv, yv) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss", *LOSSES}), Loss, None],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }
    _score_name = "accuracy"

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        output: Any = None,
        loss: Any = None,
        dropout: Any = 0.0,
        batch_norm: bool = False,
        class_weight: Any = None,
        weight_decay: float = 0.0,
        init: Any = None,
        scale: Any = None,
        schedule: Any = None,
        scoring: Any = None,
        target_loss: float | None = None,
        max_seconds: float | None = None,
        dtype: Any = None,
        n_threads: int | None = None,
        continue_exactly: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.output = output
        self.loss = loss
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.class_weight = class_weight
        self.weight_decay = weight_decay
        self.init = init
        self.scale = scale
        self.schedule = schedule
        self.scoring = scoring
        self.target_loss = target_loss
        self.max_seconds = max_seconds
        self.dtype = dtype
        self.n_threads = n_threads
        self.continue_exactly = continue_exactly

    # ---- targets

    def _learn_targets(self, y: Any, incremental: bool) -> None:
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = labels.fitted(y)
            self.classes_ = labels.classes(self._label_binarizer)
            return
        seen = labels.seen(self._label_binarizer, y)
        if seen is None:
            expected = "one class a row" if y.ndim == 2 else "several columns"
            raise ValueError(
                f"y: got shape {y.shape}, expected {expected} as in the first call. The object was "
                f"not fitted with {'multilabel' if y.ndim == 2 else 'such'} input."
            )
        if self.warm_start:
            if not labels.are_same(seen, self.classes_):
                raise ValueError(
                    f"warm_start can only be used where `y` has the same classes as in the "
                    f"previous call to fit. Previously got {self.classes_}, `y` has {seen}"
                )
        elif len(labels.unknown(seen, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {seen}."
            )

    def _objective(self, y: Any) -> Objective:
        binarizer = self._label_binarizer
        return of_classes(
            labels.kind(binarizer), labels.n_columns(binarizer), self.loss, self.output
        )

    def _targets(self, y: Any, objective: Objective, n_rows: int) -> arrays.Rows:
        numbers = objective.loss.targets == "classes"
        found = labels.encoded(self._label_binarizer, y, objective.n_out, numbers)
        return arrays.Rows(found, "y", 1 if numbers else objective.n_out, "outputs")

    def _held_out_targets(self, y: Any, objective: Objective, n_rows: int) -> arrays.Rows:
        seen = labels.seen(self._label_binarizer, y)
        if seen is None or len(labels.unknown(seen, self.classes_)):
            got = "labels of another kind" if seen is None else f"the labels {seen}"
            raise ValueError(
                f"eval_set: got {got} in its y, expected some of those in the training's y, "
                f"{self.classes_}"
            )
        return self._targets(y, objective, n_rows)

    def _weighted(self, sample_weight: Any, y: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        of_classes = compute_sample_weight(self.class_weight, y)
        return of_classes if sample_weight is None else of_classes * sample_weight

    def _strata(self, y: Any, objective: Objective, targets: arrays.Rows) -> Any:
        if labels.kind(self._label_binarizer) != "binary":
            return None
        # In the words that scikit-learn's split makes of its own targets, for its message.
        return np.where(y == self.classes_[-1], "True", "False")

    def _score_of(self, objective: Objective) -> Callable[..., float]:
        return accuracy_of(self._label_binarizer)

    # ---- the public face

    @available_if(BaseMLP._check_solver)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train one epoch on the given rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            A weight of at least 0 for each row.
        classes : array-like of shape (n_classes,), or a list of one for each column of y
            All classes there will be; needed in the first call alone. ``y`` need not hold all of
            them.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            As `fit`; or if ``y`` has a class that ``classes`` does not name.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight: 'balanced' is not known from some of the rows, expected a weight "
                "for each class in a dict; see sklearn.utils.class_weight.compute_class_weight"
            )
        if isinstance(classes, list | tuple) and classes and np.ndim(classes[0]) == 1:
            columns = [np.unique(of_column) for of_column in classes]
            known = getattr(self, "classes_", None)
            if known is None:
                self._label_binarizer = [labels.of_classes(found) for found in columns]
                self.classes_ = columns
            elif not isinstance(known, list) or not labels.are_same(columns, known):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                    f"{known!r}"
                )
        elif _check_partial_fit_first_call(self, classes):
            self._label_binarizer = labels.first_seen(y, self.classes_)
        self._fit(X, y, sample_weight, True)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each row, or its labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Classes; with several labels a row 0 and 1 for each of them, in a sparse matrix if ``y``
            was one.
        """
        outputs = self._outputs(X)
        found: NDArray[Any] = labels.decoded(self._label_binarizer, outputs)
        return found

    def _gives_probabilities(self) -> bool:
        output = self.__dict__.get("out_activation_", self.output)
        if output is None or str(output) in PROBABILITIES:
            return True
        raise AttributeError(
            f"predict_proba is only available for outputs that are probabilities, "
            f"{', '.join(PROBABILITIES)}; got output={output!r}"
        )

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, or of each label, in the order of ``classes_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or a list of one for each column of y
            Where several columns have several classes each, a list.
        """
        outputs = self._outputs(X)
        binarizer = self._label_binarizer
        exclusive = self.out_activation_ == "softmax" or outputs.shape[1] == 1
        if not exclusive and labels.kind(binarizer) == "multiclass":
            outputs = labels.normalised(outputs)
        return labels.probabilities(binarizer, outputs)

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithm of what `predict_proba` returns.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or a list of one for each column of y
        """
        found = self.predict_proba(X)
        if isinstance(found, list):
            return [np.log(column) for column in found]
        return np.log(found, out=found)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of rows of which every label is predicted correctly.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        float
            From 0 to 1.
        """
        if not isinstance(self.__dict__.get("_label_binarizer"), list):
            if sample_weight is None and labels.are_plain(y):
                # Judging labels takes scikit-learn ten times as long as predicting them.
                found = self.predict(X)
                if found.shape == y.shape and found.dtype.kind == y.dtype.kind:
                    return float(np.mean(found == y))
            return float(super().score(X, y, sample_weight))
        right = (self.predict(X) == np.asarray(y)).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
