"""A run as an object: what its ``run.json`` says, and what its head says of images."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, FormatError
from ...reprs import html_table, listed
from ..duplicates import ToldDuplicates
from ..heads.predictors import head_file, load_predictor
from ..heads.registry import heads
from ..heads.saved_estimator import SavedEstimator, how_to_save, read_estimator
from ..scoring.calibrate import calibrate_head
from ..scoring.classes import ClassReport, class_reports
from ..scoring.crossval import Recipe
from ..scoring.metrics import Metric
from ..sources import Source, averaged, describe
from .checks import REFIT, check_outputs, check_part, head_probabilities, read_head, read_info
from .predictions import EPOCHS, PREDICTIONS, Predictions, read_epochs, read_predictions

_LAST = datetime(9999, 12, 31, tzinfo=timezone.utc)  # what comes after it can be told apart
FORMAT = "tlx-run"
VERSION = 2  # of before, 1: "ece" was told as "ece_calibrated", and "ece_raw" as "ece"
_RENAMED = {1: {"ece": "ece_raw", "ece_calibrated": "ece"}, VERSION: {}}


@dataclass(frozen=True)
class Finetuning:
    """How a fine-tuned run came about.

    Attributes
    ----------
    seed_run : str
        Id of the run whose head it started from.
    kept : {"head", "finetuned"}
        Which of the two the run predicts with.
    report : dict
        All that the command told, as JSON.
    """

    seed_run: str
    kept: str
    report: dict[str, Any]

    @property
    def better(self) -> bool:
        """Whether it predicts with the network because that is better, not because one asked."""
        return self.kept == "finetuned" and self.report.get("verdict", {}).get("better", True)


@dataclass(frozen=True, repr=False)
class RunInfo:
    """What ``run.json`` says. C classes.

    Attributes
    ----------
    model : str
        Name of the head, or ``"finetune"``.
    dataset, root : str
        The data set that it was fitted on, and the folder of that.
    sources : list of dict
        ``fingerprint``, ``spec`` and ``weights`` of each backbone whose features it takes, and
        ``mean_views`` where it takes means over so many augmented views.
    class_names : tuple of C str
        In the order of the probabilities.
    protocol : str
        How it was scored, for people.
    n : int
        Images that it was scored on.
    metrics : dict of str to Metric
    confusion : list of C lists of C int
        Rows are true classes, columns predicted ones.
    params : dict
        What was chosen for the head.
    seed : int
    seconds : float
        Of the whole fit.
    trained_on : int or None
        Images that the head learned from, views counted; None in old runs.
    prior : list of C float, or None
        How frequent its probabilities suppose the classes to be: see `run_prior`; None in old runs.
    views, tta : int
        Augmented views of an image that it learned from; over which it averages what it scores.
    temperature : float
        What its probabilities were calibrated with.
    predict_seconds : float or None
        That the head takes for one image.
    recipe : Recipe or None
        What fits the same head again; None if nothing does.
    features_chosen : dict or None
        What ``features="auto"`` chose: see `tlx.classify.scoring.choice.choose_features`.
    near_duplicates : ToldDuplicates or None
        Near-duplicates of what was scored among what was learned from; None in old runs.
    finetune, estimator : Finetuning or None, SavedEstimator or None
        Of a fine-tuned run; of a classifier of scikit-learn's kind.
    created : str
        Time in UTC, ISO 8601.
    scored_id, trained_id : str
        What it was scored on and learned from: see the functions. Empty in old runs.
    environment : dict
        Versions it was made with.
    parts : dict of str to str
        SHA-256 of each file of the run.
    """

    model: str
    dataset: str
    root: str
    sources: list[Source]
    class_names: tuple[str, ...]
    protocol: str
    n: int
    metrics: dict[str, Metric]
    confusion: list[list[int]]
    params: dict[str, Any]
    seed: int
    seconds: float
    trained_on: int | None = None
    prior: list[float] | None = None
    views: int = 0
    tta: int = 0
    temperature: float = 1.0
    predict_seconds: float | None = None
    recipe: Recipe | None = None
    features_chosen: dict[str, Any] | None = None
    near_duplicates: ToldDuplicates | None = None
    finetune: Finetuning | None = None
    estimator: SavedEstimator | None = None
    created: str = ""
    scored_id: str = ""
    trained_id: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def time(self) -> datetime:
        """When the run was made; of an unreadable time the beginning of all."""
        try:
            time = datetime.fromisoformat(self.created)
            time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
            return min(time.astimezone(timezone.utc), _LAST)
        except (OverflowError, ValueError):
            return datetime.min.replace(tzinfo=timezone.utc)

    def __repr__(self) -> str:
        return (
            f"<RunInfo: {self.model} on {self.dataset!r}, {len(self.class_names)} classes "
            f"({listed(self.class_names)}), {self.n} images, {self.protocol}, {self.created}>"
        )

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> RunInfo:
        """Return what a checked ``run.json`` says; keys that are not known here are passed over."""
        known = {f.name for f in fields(cls)} - {"recipe"}  # which the file calls "settings"
        values = {key: value for key, value in found.items() if key in known}
        values["class_names"] = tuple(found["class_names"])
        renamed = _RENAMED[found["version"]]
        values["metrics"] = {renamed.get(k, k): Metric(**m) for k, m in found["metrics"].items()}
        if "settings" in found:
            s = found["settings"]
            values["recipe"] = Recipe(found["model"], s["folds"], s["grid"], s["options"])
        if "finetune" in found:
            report = found["finetune"]
            values["finetune"] = Finetuning(report["seed_run"], report["kept"], report)
        values["near_duplicates"] = ToldDuplicates.from_json(found.get("near_duplicates"))
        if "estimator" in found:
            values["estimator"] = SavedEstimator.from_json(found["estimator"])
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `from_json` reads."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        recipe, finetune, estimator = map(own.pop, ("recipe", "finetune", "estimator"))
        if self.features_chosen is None:
            del own["features_chosen"]
        own["class_names"] = list(self.class_names)
        own["metrics"] = {name: asdict(metric) for name, metric in self.metrics.items()}
        if recipe is not None:
            own["settings"] = {k: getattr(recipe, k) for k in ("folds", "grid", "options")}
        own["near_duplicates"] = self.near_duplicates and asdict(self.near_duplicates)
        if finetune is not None:
            own["finetune"] = finetune.report
        if estimator is not None:
            own["estimator"] = asdict(estimator)
        return {"format": FORMAT, "version": VERSION, **own}


@dataclass(frozen=True, repr=False)
class Run:
    """A trained predictor with its numbers.

    Attributes
    ----------
    id : str
    folder : Path
    info : RunInfo
        The content of ``run.json``.
    trusted : tuple of str
        Types that the user confirmed: see `load_run`.
    """

    id: str
    folder: Path
    info: RunInfo
    trusted: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        accuracy = self.info.metrics["accuracy"]
        saved = self.info.estimator
        how = (
            f": trusted=[{listed([*map(repr, saved.types)])}] saves it"
            if saved and saved.types
            else ""
        )
        only = "" if self.can_predict else f", predictions only{how}"
        return (
            f"<Run {self.id!r}: {self.info.model} on {self.info.dataset!r}, accuracy {accuracy} "
            f"of {self.info.n} images, {self.info.protocol}{only}>"
        )

    def _repr_html_(self) -> str:
        return html_table(repr(self), ("metric", "95% interval"), self.metrics.items())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the C classes, in the order of the probabilities."""
        return self.info.class_names

    @property
    def metrics(self) -> dict[str, Metric]:
        """What the run is worth: ``run.metrics["accuracy"].value``."""
        return self.info.metrics

    @cached_property
    def scored_id(self) -> str:
        """What the run was scored on: see `scored_id`. An old run's predictions are read for it."""
        return self.info.scored_id or self.predictions().scored_id

    @cached_property
    def trained_id(self) -> str:
        """What its head learned from: see `trained_id`."""
        return self.info.trained_id or self.predictions().trained_id

    @property
    def can_predict(self) -> bool:
        """Whether it was saved with what it learned: one of scikit-learn's kind may not be."""
        return self.info.model in heads() or self.info.parts.keys() != {PREDICTIONS}

    def describe(self) -> str:
        """Return in one line what the run is, for people."""
        accuracy, loss = self.metrics["accuracy"].value, self.metrics["log_loss"].value
        return (
            f"run {self.id}: {self.info.model} on {self.info.dataset!r}, log loss {loss:.4f}, "
            f"accuracy {accuracy:.4f} of {self.info.n} images"
        )

    @property
    def sources(self) -> list[Source]:
        """What its head takes of a new image: with test-time augmentation means over views."""
        return averaged(self.info.sources, self.info.tta)

    @property
    def features(self) -> str:
        """What its features are, in a phrase for people."""
        views = f", {self.info.views} views learned from" if self.info.views else ""
        tta = f", tta {self.info.tta}" if self.info.tta else ""
        return describe(self.info.sources) + views + tta

    @property
    def source(self) -> Source:
        """The spec that its features have: ``fingerprint``, ``spec`` and ``weights``.

        Raises
        ------
        DataError
            If it joins the features of several backbones.
        """
        sources = self.info.sources
        if len(sources) > 1:
            raise DataError(
                f"run {self.id} joins the features of {len(sources)} backbones.",
                "Use a run of one backbone: tlx fit-head --features NAME",
            )
        return sources[0]

    def head(self) -> Any:
        """Return the predictor: ``predict_proba(X)`` maps (N, D) features to (N, C).

        Its probabilities are calibrated. Its file is read once.

        Raises
        ------
        FormatError
            If its files are missing, damaged, foreign or hostile, or it is a classifier of
            scikit-learn's kind with a type that was not confirmed: see `load_run`.
        """
        if not self.can_predict:
            raise DataError(
                f"run {self.id} keeps its predictions alone: what {self.info.model} learned was "
                "not saved.",
                how_to_save(self.info.estimator),
            )
        return self._head

    @cached_property
    def _head(self) -> Any:
        saved, C = self.info.estimator, len(self.class_names)
        path, data = read_head(self.folder, self.info.parts)
        if saved is not None:
            head = read_estimator(self.id, path, data, saved, C, self.trusted)
        else:
            try:
                head = load_predictor(self.folder, {path.name: data})
            except FormatError as error:
                raise FormatError(" ".join(error.cause.split()), REFIT) from error
        check_outputs(path, head, C)
        return calibrate_head(head, self.info.temperature, folded=True)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities of features, such as `load_features` has in ``X``.

        Parameters
        ----------
        X : array-like of shape (N, D)
            Features of the backbone, layer and pooling that the run was fitted on; `predict` takes
            images.

        Returns
        -------
        ndarray of shape (N, C), float64
            In the order of `class_names`.

        Raises
        ------
        DataError
            If `X` is no table.
        FormatError
            If the head takes features of another length.
        """
        X = np.asarray(X)
        if X.ndim != 2 or X.dtype.kind not in "fiu":
            raise DataError(
                f"X of shape {X.shape} and type {X.dtype} is no table of features.",
                "Expected numbers of shape (N, D). For images: run.predict(paths).",
            )
        return head_probabilities(self.folder, self.head(), X.astype(np.float32, copy=False))

    def predict(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        **options: Any,
    ) -> list[Any]:
        """Predict images: `tlx.predict_images` with this run, in the workspace that it lies in.

        Parameters
        ----------
        paths : path or iterable of path
            Images, and folders that are searched for images.
        **options
            ``workspace``, ``tta``, ``reject``, ``engine`` and ``progress`` of `predict_images`.

        Returns
        -------
        list of Prediction

        Examples
        --------
        >>> import tlx
        >>> run = tlx.fit_head()
        >>> run.predict("photos/red/0.png")[0].label
        'red'
        """
        # By name: it stands above this module, and asking a run for predictions is the one way up.
        module = importlib.import_module("..predict", __package__)
        options.setdefault("workspace", self.folder.parent.parent)
        return module.predict_images(self, paths, **options)

    def as_keras(self) -> Any:
        """Return the run as one `keras.Model`: see `tlx.deploy.network.run_network`."""
        return importlib.import_module("...deploy.network", __package__).run_network(self)

    def predictions(self) -> Predictions:
        """Return the out-of-fold predictions of the images that the run was scored on.

        Raises
        ------
        FormatError
            If the file is missing, damaged, foreign or hostile.
        StorageError
            If the system refuses to read it.
        """
        return read_predictions(self.folder, self.info.parts, len(self.class_names))

    def per_class(self) -> list[ClassReport]:
        """Return recall, precision and F1 of each class, on the images that the run was scored on.

        Raises
        ------
        FormatError, StorageError
            See `predictions`.
        """
        scored = self.predictions()
        folds = len(np.unique(scored.fold))
        return class_reports(
            scored.label, scored.probabilities, scored.group, self.class_names, folds
        )

    def epoch_logits(self) -> np.ndarray | None:
        """Return logits by epoch of the M images of `predictions`; None unless it is a fine-tuning.

        Shape (1 + E, M, C) float32: the head's, calibrated, then uncalibrated. Raises as that does.
        """
        if EPOCHS not in self.info.parts:
            return None
        return read_epochs(self.folder, self.info.parts, self.info.n, len(self.class_names))


def read_run(folder: Path, *, parts: bool = False, trusted: tuple[str, ...] = ()) -> Run:
    """Return the run in a folder; with `parts`, after each has shown its SHA-256.

    Its head is read then as well, unless that needs consent; `trusted` are types confirmed.

    Raises
    ------
    FormatError
        If it is missing, damaged, foreign or from a newer tlx.
    StorageError
        If the system refuses to read it.
    """
    info = RunInfo.from_json(read_info(folder, FORMAT, VERSION))
    run = Run(folder.name, folder, info, trusted)
    own = head_file(info.parts) if run.can_predict and info.estimator is None else None
    for part in info.parts if parts else ():
        if part == own:
            run.head()  # which checks it, and keeps what it read: it is opened once
        else:
            check_part(folder, part, info.parts)
    return run
