"""What the classifier and the regressor share: parameters, networks, training, prediction."""

from __future__ import annotations

import math
import operator
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import activations, arrays, initializers, schedules, threads
from ..callbacks import Callback, checked
from ..fitting import Data, Settings
from ..network import MLP
from ..optimizers import SGD, Adam, Optimizer
from ..structure import Structure
from ..training import Trainer
from .epochs import Best, Epochs, Order, RateOfEpoch, Validation
from .losses import Objective, out_activation
from .standing import Course, Last, Standing

STOCHASTIC_SOLVERS = ("sgd", "adam")
SPARSE = ["csr", "csc"]
# Activations whose weights scikit-learn draws from a narrower range.
LOGISTIC = ("logistic", "sigmoid")
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


def _warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn as from scikit-learn's module around ``fit``.

    Programs silence its networks by ``filterwarnings("ignore", module="sklearn")``.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and not frame.f_globals["__name__"].startswith("sklearn."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _not_converged(found: Any, n_iter: int, max_iter: int) -> str:
    """Return what scikit-learn says of a minimizer that has ended too soon."""
    advice = ""
    if n_iter == max_iter:
        advice = (
            f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
        )
    return (
        f"lbfgs failed to converge after {n_iter} iteration(s) (status={found.status}):\n"
        f"{found.message}\n{advice}\nYou might also want to scale the data as shown in:\n"
        f"    https://scikit-learn.org/stable/modules/preprocessing.html"
    )


class Names(StrOptions):
    """Names, with settings in brackets or without: ``"leaky_relu(slope=0.2)"``."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether the name is known; the settings are judged with the network."""
        return isinstance(val, str) and val.partition("(")[0] in self.options


def at_least(low: float, kind: type = Real) -> Interval:
    """Return the constraint of a number that is not below ``low``."""
    return Interval(kind, low, None, closed="left")


ACTIVATION = [Names(set(activations._BY_NAME)), activations.Activation]


class BaseMLP(BaseEstimator):
    """What `MLPClassifier` and `MLPRegressor` share."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", at_least(1, Integral)],
        "activation": [*ACTIVATION, "array-like"],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [at_least(0)],
        "batch_size": [StrOptions({"auto"}), at_least(1, Integral)],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [at_least(0)],
        "max_iter": [at_least(1, Integral)],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [at_least(0)],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [at_least(1, Integral), Options(Real, {math.inf})],
        "max_fun": [at_least(1, Integral)],
        "output": [*ACTIVATION, None],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "batch_norm": ["boolean"],
        "weight_decay": [at_least(0)],
        "init": [StrOptions(set(initializers.INITIALIZERS)), "array-like", None],
        "scale": [StrOptions({"standard"}), Interval(Real, 0, None, closed="neither"), None],
        "schedule": [StrOptions(set(schedules.SCHEDULES)), schedules.Schedule, callable, None],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "target_loss": [Real, None],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "dtype": [StrOptions({"float32", "float64"}), type, np.dtype, None],
        "n_threads": [at_least(1, Integral), None],
        "continue_exactly": ["boolean"],
    }

    # Of what else `validate_data` is told of y.
    _checks_of_y: ClassVar[dict[str, Any]] = {}
    # What the default score is called in the history.
    _score_name: ClassVar[str]

    # What is known without a fit; set on the instance by one.
    _trainer: Trainer | None = None
    _standing: Standing | None = None
    _course: Course | None = None

    # ---- what each of the two says of its targets

    def _learn_targets(self, y: Any, incremental: bool) -> None:
        """Take from ``y`` what decides the network's outputs; refuse what does not fit them."""
        raise NotImplementedError

    def _objective(self, y: Any) -> Objective:
        """Return loss, output and number of outputs for these targets."""
        raise NotImplementedError

    def _targets(self, y: Any, objective: Objective, n_rows: int) -> arrays.Rows:
        """Return targets as the loss takes them."""
        raise NotImplementedError

    def _held_out_targets(self, y: Any, objective: Objective, n_rows: int) -> arrays.Rows:
        """Return the targets of an ``eval_set``."""
        raise NotImplementedError

    def _weighted(self, sample_weight: Any, y: Any) -> Any:
        """Return the weights of rows, those of their classes included."""
        return sample_weight

    def _strata(self, y: Any, objective: Objective, targets: arrays.Rows) -> Any:
        """Return what rows held out are drawn in proportion to; None for nothing."""
        return None

    def _score_of(self, objective: Objective) -> Callable[..., float]:
        """Return the metric of targets and outputs that `score` is."""
        raise NotImplementedError

    # ---- the network

    def __sklearn_is_fitted__(self) -> bool:
        return "coefs_" in self.__dict__

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        # scikit-learn reads the signature anew each time, which takes longer than a small training.
        names: list[str] = super()._get_param_names()
        return names

    def _network(self) -> MLP:
        """Return the network, with what was assigned to ``coefs_`` and ``intercepts_``."""
        own = self.__dict__
        try:
            mlp: MLP = own["mlp_"]
            coefs, intercepts = own["coefs_"], own["intercepts_"]
        except KeyError:
            return self._adopted()
        if (
            len(coefs) == len(intercepts) == len(mlp.weights)
            and all(map(operator.is_, coefs, mlp.weights))
            and all(map(operator.is_, intercepts, mlp.biases))
        ):
            return mlp
        return self._adopted()

    def _adopted(self) -> MLP:
        """Take over the arrays that somebody has assigned."""
        check_is_fitted(self)
        coefs, intercepts = list(self.coefs_), list(self.intercepts_)
        mlp: MLP | None = self.__dict__.get("mlp_")
        shapes = [np.shape(array) for array in (*coefs, *intercepts)]
        if mlp is not None and shapes == [view.shape for view in (*mlp.weights, *mlp.biases)]:
            with mlp._lock:
                for given, view in zip(
                    (*coefs, *intercepts), (*mlp.weights, *mlp.biases), strict=True
                ):
                    if given is not view:
                        view[:] = given
        else:
            mlp = MLP.from_weights(
                coefs, intercepts, activation=self.activation, output=self.out_activation_
            )
            self._trainer = self._standing = self._course = None
        self._bind(mlp)
        return mlp

    def _bind(self, mlp: MLP) -> None:
        """Make ``coefs_`` and ``intercepts_`` lists of the network's own arrays."""
        self.mlp_ = mlp
        for name, views in (("coefs_", mlp.weights), ("intercepts_", mlp.biases)):
            held = self.__dict__.get(name)
            if isinstance(held, list) and len(held) == len(views):
                # The same list, for somebody may be filling it entry by entry.
                held[:] = views
            else:
                setattr(self, name, list(views))

    def _hidden_layers(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        found = list(sizes) if isinstance(sizes, Iterable) else [sizes]
        if any(size <= 0 for size in found):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {found}.")
        return found

    def _new_network(self, n_in: int, objective: Objective, dtype: Any) -> MLP:
        """Return a network with initial weights as scikit-learn draws them."""
        hidden = self._hidden_layers()
        structure = Structure.checked(
            [n_in, *hidden, objective.n_out],
            self.activation,
            objective.output,
            "batch" if self.batch_norm else None,
            self.dropout,
            0.0,
            dtype,
        )
        mlp = MLP._blank(structure, self.scale)
        rng = self._random_state
        if self.init is not None:
            for w, draw in zip(mlp.weights, mlp._initializers(self.init), strict=True):
                w[:] = draw(rng, *w.shape)
            return mlp
        names = [self.activation] if isinstance(self.activation, str) else structure.activations
        for i, (w, b) in enumerate(zip(mlp.weights, mlp.biases, strict=True)):
            # The output's range is that of the hidden layer before it.
            factor = 2.0 if names[min(i, len(hidden) - 1, len(names) - 1)] in LOGISTIC else 6.0
            bound = np.sqrt(factor / sum(w.shape))
            w[:] = rng.uniform(-bound, bound, w.shape)
            b[:] = rng.uniform(-bound, bound, b.shape)
        return mlp

    # ---- the trainer

    def _new_optimizer(self) -> Optimizer:
        rate = self.learning_rate_init
        if self.solver == "sgd":
            return SGD(
                rate,
                momentum=self.momentum,
                nesterov=bool(self.nesterovs_momentum and self.momentum > 0),
                rate_inside_velocity=True,
                weight_decay=self.weight_decay,
            )
        return Adam(
            rate,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            eps_before_correction=True,
            weight_decay=self.weight_decay,
        )

    def _new_trainer(
        self, mlp: MLP, objective: Objective, optimizer: Optimizer, seed: int
    ) -> Trainer:
        schedule = self.schedule
        if schedule is None and isinstance(optimizer, SGD) and self.learning_rate != "constant":
            schedule = RateOfEpoch(optimizer.lr)
        return Trainer(
            mlp,
            loss=objective.loss,
            optimizer=optimizer,
            schedule=schedule,
            l2=self.alpha,
            penalties_over_rows=True,
            seed=seed,
            n_threads=self.n_threads,
        )

    def _trainer_for(self, mlp: MLP, objective: Objective, go_on: bool) -> Trainer:
        """Return a trainer: with ``go_on`` the one before, or one that stands where it did."""
        standing = None
        if go_on:
            trainer = self._trainer
            if trainer is not None:
                same = trainer.loss == objective.loss and trainer.l2 == self.alpha
                if same and trainer.mlp is mlp:
                    trainer.n_threads = self.n_threads
                    return trainer
                standing = Standing.of(trainer)
            else:
                standing = self._standing
        if standing is None:
            # Drawn only where it is used, to leave scikit-learn's sequence as it is.
            drops = any(mlp._structure.dropout)
            seed = int(self._random_state.randint(2**31)) if drops else 0
            trainer = self._new_trainer(mlp, objective, self._new_optimizer(), seed)
        else:
            trainer = self._new_trainer(mlp, objective, standing.optimizer, standing.seed)
            standing.give(trainer)
        self._trainer, self._standing = trainer, None
        return trainer

    # ---- training

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        eval_set: tuple[Any, ...] | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Numbers, finite. float32 and float64 are neither copied nor modified.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or numbers for the regressor.
        sample_weight : array-like of shape (n_samples,), optional
            A weight of at least 0 for each row.
        eval_set : (X, y) or (X, y, sample_weight), optional
            Rows to measure ``validation_loss_curve_`` and a score on after every epoch. With
            ``early_stopping`` they take the place of rows held out, so that all of ``X`` is trained
            on.
        callbacks : iterable of fastmlp.Callback, optional
            Listeners to the training.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            If a parameter or an argument is wrong, or training has diverged.

        Warns
        -----
        ConvergenceWarning
            If training has ended for ``max_iter`` alone.
        """
        self._fit(X, y, sample_weight, False, eval_set, callbacks)
        return self

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        incremental: bool,
        eval_set: Any = None,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        self._hidden_layers()
        self._check_solver_options()
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        listeners = checked(callbacks)
        fitted = "coefs_" in self.__dict__
        fresh = not fitted or not (self.warm_start or incremental)
        as_given = X, y
        X, y = self._checked(X, y, reset=fresh)
        self._learn_targets(y, incremental)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        objective = self._objective(y)
        go_on = not fresh and self.continue_exactly
        if not go_on or "_random_state" not in self.__dict__:
            self._random_state = check_random_state(self.random_state)
        mlp = self._begun(X, objective) if fresh else self._network()
        if objective.n_out != mlp.sizes[-1]:
            raise ValueError(
                f"y: got targets for {objective.n_out} outputs, expected {mlp.sizes[-1]}, as many "
                f"as the network has that training goes on with"
            )
        self.n_outputs_ = mlp.sizes[-1]
        self._open_curves(fresh)

        n_rows = X.shape[0]
        targets = self._targets(y, objective, n_rows)
        weights = arrays.weights(sample_weight, n_rows, mlp.dtype)
        whole = Data(arrays.inputs(X, mlp.sizes[0]), targets, weights)
        weighted = self._weighted(sample_weight, y)
        data = whole
        if weighted is not sample_weight:
            data = replace(whole, weights=arrays.weights(weighted, n_rows, mlp.dtype))
        validation = None
        if eval_set is not None:
            validation = self._validation_of(eval_set, objective, mlp)
        if self.solver == "lbfgs":
            self._fit_lbfgs(mlp, objective, data, validation, listeners)
            return
        course = (self._course if go_on else None) or Course()
        trainer = self._trainer_for(mlp, objective, go_on or incremental)
        if self.early_stopping and validation is None:
            train, test = self._split(self._strata(y, objective, targets), n_rows, course)
            data, held_out = data.subset(train), whole.subset(test)
            validation = self._validation(
                held_out, objective, lambda: [_safe_indexing(part, test) for part in as_given]
            )
            course.split = train, test
        self._train(trainer, data, validation, listeners, course, incremental)

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Return rows and targets as scikit-learn has judged them."""
        # What is of neither type becomes one of the first.
        types = np.float64, np.float32
        wanted = None if self.dtype is None else np.dtype(self.dtype)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=SPARSE,
            multi_output=True,
            dtype=types[::-1] if wanted == np.float32 else types,
            reset=reset,
            **self._checks_of_y,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            _warn(
                "A column-vector y was passed when a 1d array was expected. Please change the "
                "shape of y to (n_samples, ), for example using ravel().",
                DataConversionWarning,
            )
            y = y.ravel()
        return X, y

    def _check_solver_options(self) -> None:
        """Refuse options that the full-batch solver would silently leave unused."""
        if self.solver != "lbfgs":
            return
        for name in ("dropout", "weight_decay", "schedule"):
            value = getattr(self, name)
            if value is not None and np.any(value):
                raise ValueError(
                    f"{name}: got {value!r} with solver='lbfgs', expected none; use 'sgd' or 'adam'"
                )

    def _begun(self, X: Any, objective: Objective) -> MLP:
        """Set what a first fit sets; return a new network."""
        dtype = self.dtype
        if dtype is None:
            # scikit-learn's L-BFGS computes in float64 whatever the inputs are.
            dtype = np.float64 if self.solver == "lbfgs" else X.dtype
        mlp = self._new_network(X.shape[1], objective, dtype)
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(mlp.sizes)
        self.out_activation_ = out_activation(objective.output)
        self.__dict__.pop("coefs_", None)
        self.__dict__.pop("intercepts_", None)
        self._bind(mlp)
        self._trainer = self._standing = self._course = None
        return mlp

    def _open_curves(self, fresh: bool) -> None:
        """Begin the curves, or make sure of those of an earlier call."""
        own = self.__dict__
        if fresh or "validation_loss_curve_" not in own:
            self.validation_loss_curve_: list[float] | None = None
        if self.solver == "lbfgs":
            return
        if fresh or own.get("loss_curve_") is None:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
        if self.early_stopping:
            if fresh or own.get("validation_scores_") is None:
                self.validation_scores_: list[float] | None = []
                self.best_validation_score_: float | None = -math.inf
            self.best_loss_: float | None = None
        else:
            if fresh or own.get("best_loss_") is None:
                self.best_loss_ = math.inf
            self.validation_scores_ = self.best_validation_score_ = None

    def _split(
        self, strata: Any, n_rows: int, course: Course
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of the rows to train on and of those held out."""
        if course.split is not None and sum(map(len, course.split)) == n_rows:
            return course.split
        train, test = train_test_split(
            np.arange(n_rows),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=strata,
        )
        if len(test) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return train, test

    def _validation_of(self, eval_set: Any, objective: Objective, mlp: MLP) -> Validation:
        """Return the validation on rows of the user's."""
        if not isinstance(eval_set, tuple | list) or len(eval_set) not in (2, 3):
            got = (
                f"{len(eval_set)} values" if isinstance(eval_set, tuple | list) else type(eval_set)
            )
            raise ValueError(f"eval_set: got {got}, expected (X, y) or (X, y, sample_weight)")
        given_X, given_y, weight = (*eval_set, None)[:3]
        X, y = self._checked(given_X, given_y, reset=False)
        if weight is not None:
            weight = _check_sample_weight(weight, X)
        data = Data(
            arrays.inputs(X, mlp.sizes[0], "eval_set X"),
            self._held_out_targets(y, objective, X.shape[0]),
            arrays.weights(weight, X.shape[0], mlp.dtype),
        )
        return self._validation(data, objective, lambda: [given_X, given_y])

    def _validation(
        self, data: Data, objective: Objective, as_given: Callable[[], list[Any]]
    ) -> Validation:
        """Return what is measured on rows held out; ``as_given`` returns them as they came."""
        scoring = self.scoring
        if self.validation_loss_curve_ is None:
            self.validation_loss_curve_ = []
        if scoring is None:
            score = self._score_of(objective)
            return Validation(data, objective.loss, self._score_name, score, None)
        X, y = as_given()
        name = scoring if isinstance(scoring, str) else "score"
        scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
        options = {}
        if data.weights is not None and getattr(scorer, "_accept_sample_weight", bool)():
            options["sample_weight"] = data.weights.whole()[:, 0]
        return Validation(
            data, objective.loss, name, None, lambda: float(scorer(self, X, y, **options))
        )

    def _train(
        self,
        trainer: Trainer,
        data: Data,
        validation: Validation | None,
        listeners: list[Callback],
        course: Course,
        incremental: bool,
    ) -> None:
        """Train by a stochastic solver."""
        mlp, n_rows = trainer.mlp, len(data)
        if self.batch_size == "auto":
            batch_size = min(200, n_rows)
        else:
            if self.batch_size > n_rows:
                _warn(
                    "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                    "clipped",
                )
            batch_size = min(self.batch_size, n_rows)
        trainer.batch_size = batch_size
        settings = Settings(
            1 if incremental else self.max_iter,
            self.shuffle,
            target_loss=self.target_loss,
            max_seconds=self.max_seconds,
        )
        measured: dict[str, Any] = {} if validation is None else {validation.name: None}
        trainer._check_measured(settings, validation is not None, measured)
        trainer._check_minibatches(data, listeners)
        best = None
        if self.early_stopping:
            best = Best(mlp)
            if course.last is not None and np.array_equal(mlp.params, course.last.best):
                mlp.params[:], mlp._running[:] = course.last.params, course.last.running
        epochs = Epochs(self, n_rows, validation, best)
        order = Order(self._random_state, course.order) if self.shuffle else None
        self.n_iter_ = 0
        validate = None
        if validation is not None:
            validate = partial(validation.measured, mlp, self.n_threads)
        trainer._run(
            settings,
            data,
            [data],
            held_out=None if validation is None else validation.data,
            listeners=[epochs, *listeners],
            validate=validate,
            order_of=order,
        )
        self._close(trainer, best, course, order, incremental)

    def _close(
        self,
        trainer: Trainer,
        best: Best | None,
        course: Course,
        order: Order | None,
        incremental: bool,
    ) -> None:
        """After the last epoch: the best network, and what there is to say."""
        mlp, reason = trainer.mlp, trainer.history.stop_reason
        self.history_, self.stop_reason_ = trainer.history, reason
        if not (incremental or self.continue_exactly):
            trainer._rest()
        if reason == "diverged":
            self.loss_ = math.nan
            if best is None:
                raise ValueError(NOT_FINITE)
            self.n_iter_ += 1
            self.loss_curve_.append(math.nan)
            assert self.validation_scores_ is not None
            assert self.validation_loss_curve_ is not None
            self.validation_scores_.append(math.nan)
            self.validation_loss_curve_.append(math.nan)
            _warn(
                f"Stochastic Optimizer: the loss is no longer a finite number in iteration "
                f"{self.n_iter_}; the network is that of the best validation score.",
                ConvergenceWarning,
            )
        elif reason == "epochs" and not incremental:
            _warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                f"optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        if self.continue_exactly:
            course.order = None if order is None else order.last
            if best is not None:
                course.last = Last(mlp.params.copy(), mlp._running.copy(), best.params)
            self._course = course
        if best is not None:
            best.restore()
        if reason == "interrupted":
            # Of several at once, nobody will look at this one.
            threads.check_interrupt()
            _warn("Training interrupted by user.")

    def _fit_lbfgs(
        self,
        mlp: MLP,
        objective: Objective,
        data: Data,
        validation: Validation | None,
        listeners: Sequence[Callback],
    ) -> None:
        """Train by SciPy's L-BFGS-B with scikit-learn's options."""
        from ..lbfgs import minimized

        trainer = self._new_trainer(mlp, objective, SGD(), 0)
        self._trainer = self._standing = None
        validate = None
        if validation is not None:
            validate = partial(validation.measured, mlp, self.n_threads)
        found = minimized(
            trainer,
            data,
            {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
            listeners,
            target_loss=self.target_loss,
            max_seconds=self.max_seconds,
            validate=validate,
        )
        history = trainer.history
        self.history_, self.stop_reason_ = history, history.stop_reason
        if validation is not None:
            self.validation_loss_curve_ = list(history.get("val_loss", ()))
        if self.stop_reason_ == "diverged":
            raise ValueError(NOT_FINITE)
        if found is None:
            self.n_iter_ = len(history["loss"])
            self.loss_ = history["loss"][-1] if history["loss"] else math.nan
        else:
            self.n_iter_ = min(found.nit, self.max_iter)
            if found.status != 0:
                _warn(_not_converged(found, self.n_iter_, self.max_iter), ConvergenceWarning)
            self.loss_ = float(found.fun)
        if self.stop_reason_ == "interrupted":
            threads.check_interrupt()
            _warn("Training interrupted by user.")

    def _check_solver(self) -> bool:
        if self.solver not in STOCHASTIC_SOLVERS:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not "
                f"stochastic."
            )
        return True

    # ---- prediction

    def _outputs(self, X: Any) -> NDArray[Any]:
        """Return the network's outputs (n, n_out)."""
        mlp = self._network()
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype.char in "fd"
            and X.shape[1] == mlp.sizes[0]
            and len(X) > 0
            and "feature_names_in_" not in self.__dict__
        ):
            # Nothing is left for scikit-learn to judge but whether the numbers are finite, which
            # the kernels see as they read them; what is wrong then is said by scikit-learn.
            try:
                return mlp.predict(X, n_threads=self.n_threads)
            except ValueError:
                pass
        X = validate_data(self, X, accept_sparse=SPARSE, reset=False)
        return mlp.predict(X, n_threads=self.n_threads)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags

    # ---- pickles

    def __getstate__(self) -> dict[str, Any]:
        if "mlp_" in self.__dict__:
            self._network()
        state = dict(super().__getstate__())
        trainer = state.pop("_trainer", None)
        if trainer is not None:
            state["_standing"] = Standing.of(trainer)
        if "mlp_" in state:
            # Views of the network's vector, made anew from it.
            del state["coefs_"], state["intercepts_"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not state.keys() >= set(self._get_param_names()):
            # Of a release that did not have all of them, or of scikit-learn's own class, for which
            # `patch_sklearn` has put this one.
            state = type(self)().get_params(deep=False) | state
        super().__setstate__(state)
        own = self.__dict__
        # A pickle may come from anywhere: what compiled code will rely on is judged.
        try:
            theirs = own.pop("_optimizer", None)
            if theirs is not None:
                self._standing = Standing.of_theirs(theirs, self._adopted())
            mlp = own.get("mlp_")
            if mlp is None:
                return
            if not isinstance(mlp, MLP):
                raise TypeError(f"mlp_: got {type(mlp).__name__}, expected a fastmlp.MLP")
            self._bind(mlp)
            if self._standing is not None:
                self._standing = self._standing.judged(mlp)
                self.history_ = self._standing.history
            if self._course is not None:
                self._course = self._course.judged(mlp)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"state: got one that makes no sense ({error})") from None
