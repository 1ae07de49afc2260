"""The regressor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from numpy.typing import NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from .. import arrays
from ..losses import LOSSES, Loss
from .base import BaseMLP
from .epochs import r2
from .losses import Objective, of_numbers


class MLPRegressor(RegressorMixin, BaseMLP):
    """A regressor with scikit-learn's parameters, attributes and numbers, and fastmlp's kernels.

    Takes the place of ``sklearn.neural_network.MLPRegressor``: the same ``random_state`` gives the
    same initial weights, rows held out and order of rows, and losses equal within rounding. The
    parameters from ``output`` on are fastmlp's own, and off by default.

    Parameters
    ----------
    loss : str or Loss, default "squared_error"
        scikit-learn's ``"squared_error"`` or ``"poisson"`` (half the Poisson deviance), or any of
        fastmlp's: ``"huber"``, ``Quantile(tau=0.9)``, …
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
        The activation of the last layer. Default: what the loss goes with, identity or exp.
    dropout : float or sequence of float, default 0
        The probability with which training drops an output of a hidden layer, one for all or one
        for each.
    batch_norm : bool, default False
        Batch normalisation before the activation of every hidden layer.
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
        Default: R².
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
    >>> import numpy as np, fastmlp as fm
    >>> X = np.linspace(-3, 3, 200)[:, None]
    >>> y = np.sin(X[:, 0])
    >>> reg = fm.MLPRegressor(activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> reg.score(X, y) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "loss": [StrOptions({"squared_error", *LOSSES}), Loss],
        **BaseMLP._parameter_constraints,
    }
    _checks_of_y: ClassVar[dict[str, Any]] = {"y_numeric": True}
    _score_name = "r2"

    def __init__(
        self,
        loss: Any = "squared_error",
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
        dropout: Any = 0.0,
        batch_norm: bool = False,
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
        self.loss = loss
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
        self.dropout = dropout
        self.batch_norm = batch_norm
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
        pass

    def _objective(self, y: Any) -> Objective:
        return of_numbers(1 if y.ndim == 1 else y.shape[1], self.loss, self.output)

    def _targets(self, y: Any, objective: Objective, n_rows: int) -> arrays.Rows:
        return arrays.targets(y, objective.loss, objective.n_out, n_rows)

    def _held_out_targets(self, y: Any, objective: Objective, n_rows: int) -> arrays.Rows:
        return arrays.targets(y, objective.loss, objective.n_out, n_rows, "eval_set y")

    def _score_of(self, objective: Objective) -> Callable[..., float]:
        n_targets = objective.loss.target_columns(objective.n_out)
        if n_targets != objective.n_out:
            raise ValueError(
                f"scoring: got None with {objective.n_out // n_targets} quantiles of each target, "
                f"which have no R²; give a function of (estimator, X, y)"
            )
        return r2

    # ---- the public face

    @available_if(BaseMLP._check_solver)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one epoch on the given rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            A weight of at least 0 for each row.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            As `fit`.
        """
        self._fit(X, y, sample_weight, True)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the prediction for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the network's element type.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs
