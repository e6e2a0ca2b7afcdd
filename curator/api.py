"""curator from Python: a workspace whose methods are the workflows.

Each method calls one workflow and returns its frozen report. Nothing is printed; give a
`progress` to follow long work. Problems that the caller can act on are raised as
`curator.CuratorError`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import read_origin
from curator.errors import CuratorError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from curator import workspace as opened
    from curator.audits.audit import AuditReport
    from curator.audits.certify import CertifyReport
    from curator.catalogue.audits import AuditRecord
    from curator.catalogue.backups import BackupRecord
    from curator.catalogue.batches import LabelBatch
    from curator.catalogue.changes import CatalogueChange
    from curator.catalogue.labels import UnlabelUndone
    from curator.catalogue.rounds import RollbackResult
    from curator.encoding.encode import EncodeReport
    from curator.encoding.import_features import FeatureImportReport
    from curator.encoding.pixel_packs import PackReport
    from curator.export.export import ExportReport
    from curator.export.import_manifest import ImportReport
    from curator.export.tables import CatalogueTable
    from curator.finish.finish import FinishReport
    from curator.intake.add import AddReport
    from curator.intake.drop import DropReport
    from curator.intake.duplicates import DuplicateGroup, ThinReport
    from curator.intake.label import LabelReport
    from curator.intake.relocate import RelocateReport
    from curator.intake.unlabel import UnlabelReport
    from curator.intake.user_groups import GroupReport
    from curator.maintenance.doctor import DoctorReport
    from curator.maintenance.verify import VerifyReport
    from curator.prediction.evaluate import Evaluation
    from curator.prediction.inspect import ImageInspection, Inspection
    from curator.prediction.model_export import ModelExportReport
    from curator.prediction.predict import Prediction
    from curator.report.history import History
    from curator.report.plan import PoolPlan
    from curator.report.report import WrittenReport
    from curator.report.status import Status
    from curator.review.cards import ImageCard
    from curator.review.selection import SimilarTo
    from curator.review.session import ReviewSession
    from curator.rounds.run import RoundReport
    from curator.settings.sections import Settings
    from curator.simulation.simulate import Simulation
    from curator.tuning.curve import EpochCurve, SizeCurve
    from curator.tuning.tune import TuneReport

    ImageNames = str | Path | Sequence[str | Path]
    """One image or several, each by its path or by (the beginning of) its SHA-256."""


class WorkspaceApi:
    """An open workspace. Close it, or use it in a `with` statement.

    `progress` is told of the stages of every long method.
    """

    def __init__(self, workspace: opened.Workspace, *, progress: Progress = SILENT) -> None:
        self._workspace = workspace
        self.progress = progress

    def __enter__(self) -> WorkspaceApi:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalogue, after a backup if one is due; leaving a `with` block does the same.

        A backup that cannot be made is a warning.
        """
        from curator.maintenance.backup import scheduled_backup

        try:
            scheduled_backup(self._workspace)
        except CuratorError as error:
            warnings.warn(f"No backup was made. {error}", stacklevel=2)
        self._workspace.catalogue.close()

    def backup(self) -> BackupRecord:
        """Back up the catalogue now; this backup stays until you delete it."""
        from curator.catalogue.backups import MANUAL, make_backup

        backend, settings = self._workspace.catalogue.backend, self._workspace.settings.backup
        return make_backup(backend, MANUAL, settings)

    @property
    def root(self) -> Path:
        return self._workspace.root

    @property
    def settings(self) -> Settings:
        return self._workspace.settings

    def status(self) -> Status:
        """Counts by label and origin, rounds, coverage, and what to do next."""
        from curator.report.status import status

        return status(self._workspace)

    def plan(self, *, error: float | None = None, coverage: float = 0.95) -> PoolPlan:
        """The decisions that are left until the pool is labelled, and the next command.

        `error` is wrong labels / images, by default `promotion.max_error`.
        """
        from curator.report.plan import plan_pool

        return plan_pool(self.status(), error=error, coverage=coverage)

    def report(
        self, destination: str | Path | None = None, *, force: bool = False
    ) -> WrittenReport:
        """Write the report as one HTML page, by default to `report.html` in the workspace.

        `contents` of the result is what the page shows.
        """
        from curator.report.report import report

        return report(
            self._workspace,
            None if destination is None else Path(destination),
            force=force,
            progress=self.progress,
        )

    def history(self, image: str | Path) -> History:
        """Every label event of the image at a path, or with (the beginning of) a SHA-256."""
        from curator.report.history import history

        return history(self._workspace.catalogue, str(image))

    def add(
        self,
        *paths: str | Path,
        label: str | None = None,
        subfolders_are_classes: bool = False,
        source: str | None = None,
        licence: str = "",
        attribution: str = "",
        rehash: bool = False,
    ) -> AddReport:
        """Catalogue every image at or under `paths` (also URLs); nothing of them is ever changed.

        `label` makes all of it seed labels, `subfolders_are_classes` by the subfolder.
        """
        from curator.intake.add import add

        return add(
            self._workspace,
            paths,
            label=label,
            subfolders_are_classes=subfolders_are_classes,
            source=source,
            licence=licence,
            attribution=attribution,
            rehash=rehash,
            actor=self._workspace.actor,
            progress=self.progress,
        )

    def label(
        self,
        file: str | Path,
        *,
        origin: str | None = None,
        replace: bool = False,
        names: Mapping[str, str] | None = None,
    ) -> LabelReport:
        """Import people's labels from a CSV file, all of them or none.

        `origin` is for files that do not name their queue; without it they are seeds. `replace`
        takes back earlier labels that these contradict; `names` maps labels of the file to labels
        of the workspace.
        """
        from curator.intake.label import label

        return label(
            self._workspace,
            Path(file),
            origin=None if origin is None else read_origin(origin),
            replace=replace,
            names=names,
            actor=self._workspace.actor,
        )

    def unlabel(
        self,
        file: str | Path | None = None,
        *,
        batch: int | None = None,
        dry_run: bool = False,
    ) -> UnlabelReport:
        """Take back people's labels: those of a batch of `log()`, or those that a CSV lists."""
        from curator.intake.unlabel import unlabel

        return unlabel(
            self._workspace,
            file=None if file is None else Path(file),
            batch=batch,
            dry_run=dry_run,
            actor=self._workspace.actor,
        )

    def undo_unlabel(self, number: int, *, dry_run: bool = False) -> UnlabelUndone:
        """Record again what an `unlabel` of `log()` took back, unless people labelled since."""
        from curator.intake.unlabel import undo

        return undo(self._workspace.catalogue, number, dry_run=dry_run, actor=self._workspace.actor)

    def log(self) -> list[LabelBatch | CatalogueChange]:
        """What people did, oldest first: batches of labels, and what they took back or dropped."""
        from curator.intake.unlabel import log

        return log(self._workspace.catalogue)

    def queue(
        self,
        name: str,
        *,
        size: int | None = None,
        like: ImageNames = (),
        unlike: ImageNames = (),
        filter: str = "",
        seed: int | None = None,
    ) -> CatalogueTable:
        """The images of a review queue, best first, as a table.

        `like` is for `similar`: one image or several that it starts from; `unlike` are those that
        it turns away from. `filter` is a line as in the review:
        `ws.queue("flagged", filter="name:IMG_2*")`.
        """
        from curator.catalogue.sources import list_sources
        from curator.export.tables import table_of_rows
        from curator.review.filter import read_view
        from curator.review.queues import QUEUE_COLUMNS, queue

        sources = tuple(source.name for source in list_sources(self._workspace.catalogue))
        try:
            view = read_view(filter, self._workspace.settings.classes, sources)
        except ValueError as error:
            raise UsageError(f"The filter: {error}.", "An empty text filters nothing.") from None

        rows = queue(
            self._workspace,
            name,
            size=size,
            examples=self._examples(like, unlike),
            view=view,
            seed=seed,
            progress=self.progress,
        )
        return table_of_rows(self._workspace, [row.as_json() for row in rows], QUEUE_COLUMNS)

    def labels(self) -> CatalogueTable:
        """All labels as a table with the columns of a manifest."""
        from curator.export.tables import labels_table

        return labels_table(self._workspace)

    def scores(self) -> CatalogueTable:
        """P(positive) of every image that a round has scored, as a table."""
        from curator.export.tables import scores_table

        return scores_table(self._workspace)

    def review(
        self,
        name: str,
        *,
        like: ImageNames = (),
        unlike: ImageNames = (),
        seed: int | None = None,
    ) -> ReviewSession:
        """A session that hands out one image after the other; use it in a `with` statement.

        `current()` is the image to look at; `decide`, `skip` and `undo` go on from there.
        """
        from curator.review.session import ReviewSession

        return ReviewSession(
            self._workspace,
            name,
            actor=self._workspace.actor,
            examples=self._examples(like, unlike),
            seed=seed,
            progress=self.progress,
        )

    def finish(
        self,
        answer: Callable[[ImageCard], str | None],
        *,
        error: float | None = None,
        certify: bool = False,
    ) -> FinishReport:
        """Label, train and check in turn until every image has a label: `curator finish`.

        `answer` says what an image is: a class, `unsure`, or None to pass it over. In a blind
        check the card says neither score nor class. `error` is wrong machine labels / images, by
        default `promotion.max_error`. An exception of `answer` ends it, and nothing is lost.
        """
        from curator.finish.finish import finish
        from curator.review.session import ReviewSession

        workspace, classes = self._workspace, self._workspace.settings.classes

        def ask(queue: str, most: int) -> bool:
            with ReviewSession(
                workspace, queue, actor=self._workspace.actor, most=most, progress=self.progress
            ) as session:
                while (card := session.current()) is not None:
                    text = answer(card)
                    label = None if text is None else classes.label_of(text)
                    if text is not None and label is None:
                        raise UsageError(
                            f"The answer `{text}` is not a label.",
                            f"Return {classes.positive}, {classes.negative}, unsure or None.",
                        )
                    session.skip() if label is None else session.decide(label)
                return session.is_complete

        return finish(
            workspace,
            ask,
            error=self.settings.promotion.max_error if error is None else error,
            certify=certify,
            progress=self.progress,
        )

    def group(self, file: str | Path | None = None, *, by: str | None = None) -> GroupReport:
        """Group images that belong together: by a CSV file, or by a regular expression."""
        from curator.intake.user_groups import group_by_csv, group_by_pattern

        if by is not None and file is None:
            return group_by_pattern(self._workspace, by)
        if file is not None and by is None:
            return group_by_csv(self._workspace, Path(file))
        raise UsageError("Groups come from a CSV file or from `by`.", "Give one of them.")

    def relocate(self, source: str, root: str | Path) -> RelocateReport:
        """Record that a source's folder has moved to `root` (a path or URL); nothing is read again.

        What was added there meanwhile becomes part of the source.
        """
        from curator.intake.relocate import relocate

        return relocate(self._workspace, source=source, root=root, progress=self.progress)

    def drop(self, source: str, *, dry_run: bool = False) -> DropReport:
        """Take a source out: its images leave the pool unless they lie elsewhere, labels stay."""
        from curator.intake.drop import drop

        return drop(
            self._workspace,
            source=source,
            actor=self._workspace.actor,
            dry_run=dry_run,
            progress=self.progress,
        )

    def duplicates(self) -> list[DuplicateGroup]:
        """Exact and near-duplicate groups with their files, the most bytes to spare first."""
        from curator.intake.duplicates import duplicates

        return duplicates(self._workspace.catalogue)

    def thin_duplicates(self, rule: str, *, dry_run: bool = False) -> ThinReport:
        """Keep one image of each near-duplicate group: `largest`, `sharpest` or `first`."""
        from curator.intake.duplicates import thin

        return thin(self._workspace.catalogue, rule, actor=self._workspace.actor, dry_run=dry_run)

    def undo_drop(self) -> int:
        """Take the newest drop of near-duplicates back; how many images come back."""
        from curator.intake.duplicates import undo_drop

        return undo_drop(self._workspace.catalogue, actor=self._workspace.actor)

    def encode(self, *, dry_run: bool = False) -> EncodeReport:
        """Compute the features of images that have none; a dry run only estimates."""
        from curator.encoding.encode import encode

        return encode(self._workspace, dry_run=dry_run, progress=self.progress)

    def import_features(
        self, name: str, array: str | Path, index: str | Path
    ) -> FeatureImportReport:
        """Import features of your own, for `classifier.model = "features:NAME"`."""
        from curator.encoding.import_features import import_features

        return import_features(
            self._workspace,
            name=name,
            array=Path(array),
            index=Path(index),
            progress=self.progress,
        )

    def round(
        self,
        *,
        rounds: int = 1,
        until_stable: bool = False,
        dry_run: bool = False,
        accept_warning: bool = False,
        void_certificate: bool = False,
    ) -> list[RoundReport]:
        """Run rounds: train, score, promote and revoke; what each of them did.

        Raises DataError where that would void a certificate that holds, unless
        `void_certificate`.
        """
        from curator.audits.certificate import refuse_to_void
        from curator.rounds.run import run_rounds

        if not (dry_run or void_certificate):
            workspace = self._workspace
            refuse_to_void(workspace.catalogue, workspace.settings.classes, "A round")
        return list(
            run_rounds(
                self._workspace,
                rounds=rounds,
                until_stable=until_stable,
                dry_run=dry_run,
                accept_warning=accept_warning,
                progress=self.progress,
            )
        )

    def tune(
        self,
        *space: str,
        search: str | None = None,
        trials: int | None = None,
        minutes: float | None = None,
        apply: bool = False,
    ) -> TuneReport:
        """Search better settings for training; `space` is `KEY=VALUES`, or `tune.space`."""
        from curator.tuning.tune import tune

        return tune(
            self._workspace,
            space=space,
            search=search,
            trials=trials,
            minutes=minutes,
            apply=apply,
            progress=self.progress,
        )

    def curve_of_epochs(self, *, epochs: int | None = None, repetitions: int = 3) -> EpochCurve:
        """Error against epochs, and how many are enough."""
        from curator.tuning.curve import curve_of_epochs

        return curve_of_epochs(
            self._workspace, epochs=epochs, repetitions=repetitions, progress=self.progress
        )

    def curve_of_sizes(self, *, sizes: int = 5, repetitions: int | None = None) -> SizeCurve:
        """Error against the number of labels, and what more would give."""
        from curator.tuning.curve import curve_of_sizes

        return curve_of_sizes(
            self._workspace, sizes=sizes, repetitions=repetitions, progress=self.progress
        )

    def inspect(self, *, band: tuple[float, float] = (0.4, 0.6)) -> Inspection:
        """Confusion, errors and uncertain images of the current round, with a contact sheet."""
        from curator.prediction.inspect import inspect

        return inspect(self._workspace, band=band, progress=self.progress)

    def look_inside(self, image: str | Path) -> ImageInspection:
        """Feature maps and class activation of one image, as PNG files."""
        from curator.prediction.inspect import inspect_image

        return inspect_image(self._workspace, str(image), progress=self.progress)

    def pack(self, *, rebuild: bool = False) -> PackReport:
        """Decode the pixels of all images once, and check every row."""
        from curator.encoding.pixel_packs import pack

        return pack(self._workspace, rebuild=rebuild, progress=self.progress)

    def predict(self, *paths: str | Path) -> Iterator[Prediction]:
        """Scores of files and folders by the current model, without adding them."""
        from curator.prediction.predict import predict

        return predict(self._workspace, [Path(path) for path in paths], progress=self.progress)

    def evaluate(self, truth: str | Path) -> Evaluation:
        """The current model against a CSV file of labels that you know."""
        from curator.prediction.evaluate import evaluate

        return evaluate(self._workspace, Path(truth), progress=self.progress)

    def simulate(self, truth: str | Path, **request: Any) -> Simulation:
        """Simulate the whole process with labels that you know: what settings would give.

        `request` are the fields of `curator.simulation.simulate.SimulationRequest`: seeds,
        policies, max_errors, decisions, features, rounds, flipped, slips, informative,
        repetitions.
        """
        from curator.simulation.simulate import SimulationRequest, simulate

        return simulate(
            self._workspace, Path(truth), SimulationRequest(**request), progress=self.progress
        )

    def doctor(self) -> DoctorReport:
        """Check the machine and this workspace before something goes wrong."""
        from curator.maintenance.doctor import doctor

        return doctor(self._workspace)

    def verify(self, *, files: bool = False) -> VerifyReport:
        """Check the catalogue against its own rules; with `files`, every image too."""
        from curator.maintenance.verify import verify

        return verify(self._workspace, files=files, progress=self.progress)

    def rollback(self, *, to: int, block: bool = False) -> RollbackResult:
        """Restore the promoted labels of round `to`; 0 is before the first."""
        from curator.rounds.commit import rollback

        return rollback(self._workspace, to=to, block=block, actor=self._workspace.actor)

    def audit(
        self,
        *,
        size: int | None = None,
        class_name: str | None = None,
        missed: bool = False,
        until: float | None = None,
        anyway: bool = False,
        dry_run: bool = False,
    ) -> AuditReport:
        """Take up the open audit, or plan one; answer it with `review("audit")`, which opens it.

        A dry run only says what can be expected, and keeps no plan.
        """
        from curator.audits.audit import audit

        return audit(
            self._workspace,
            size=size,
            class_name=class_name,
            missed=missed,
            until=until,
            anyway=anyway,
            dry_run=dry_run,
            progress=self.progress,
        )

    def open_audit(self, *, salt: str | None = None) -> AuditRecord:
        """Open the planned audit: from here on its risk is spent. `review("audit")` does it, too.

        Which images are drawn is left to the system's randomness. A `salt` of your own makes
        the draw repeatable, for trials; a certificate of such an audit proves nothing, since its
        draw could have been chosen.
        """
        from curator.audits.audit import begin

        return begin(self._workspace, salt=salt)

    def abandon_audit(self) -> AuditRecord:
        """Close the open audit without a test; its answers stay labels, its risk stays spent."""
        from curator.audits.audit import abandon

        return abandon(self._workspace)

    def certify(self) -> CertifyReport:
        """Close the open audit: test it, promote what passed, revoke the rest."""
        from curator.audits.certify import certify

        return certify(self._workspace, progress=self.progress)

    def export(
        self,
        destination: str | Path,
        *,
        format: str | None = None,
        labels: Sequence[str] = (),
        origins: Sequence[str] = (),
        sources: Sequence[str] = (),
        splits: Sequence[str] = (),
        rounds: Sequence[int] = (),
        min_probability: float | None = None,
        one_per_group: bool = False,
        include_unlabelled: bool = False,
        divide: str | None = None,
        files: str = "auto",
        shard_bytes: int = 1_000_000_000,
        convert: str | None = None,
        check: bool = False,
        relative_to: str | Path | None = None,
        provisional: bool = False,
        force: bool = False,
        evidence: str | Path | None = None,
    ) -> ExportReport:
        """Write the manifest and its sidecar, or a folder with the images in it.

        The format follows from the suffix; `evidence` is where to write what the certificate
        rests on; `docs/export.md` explains every option.
        """
        from curator.export.export import export
        from curator.export.filters import ExportRequest, Filters

        request = ExportRequest(
            destination=Path(destination),
            format=format,
            filters=Filters(
                labels=labels,
                origins=origins,
                sources=sources,
                splits=splits,
                rounds=rounds,
                min_probability=min_probability,
                one_per_group=one_per_group,
                include_unlabelled=include_unlabelled,
                provisional=provisional,
            ),
            divide=divide,
            relative_to=None if relative_to is None else Path(relative_to),
            files=files,
            shard_bytes=shard_bytes,
            convert=convert,
            check=check,
            force=force,
            evidence=None if evidence is None else Path(evidence),
        )
        return export(self._workspace, request, self.progress)

    def import_manifest(self, manifest: str | Path) -> ImportReport:
        """Restore the labels of a manifest, with their origins."""
        from curator.export.import_manifest import import_manifest

        return import_manifest(
            self._workspace, Path(manifest), actor=self._workspace.actor, progress=self.progress
        )

    def export_model(self, destination: str | Path, *, force: bool = False) -> ModelExportReport:
        """Write the current model as ONNX (.onnx) or torch.export (.pt2)."""
        from curator.prediction.model_export import export_model

        return export_model(self._workspace, Path(destination), force=force, progress=self.progress)

    def _examples(self, like: ImageNames, unlike: ImageNames) -> SimilarTo:
        from curator.catalogue.images import find_named_image
        from curator.review.selection import SimilarTo

        def image_ids(images: ImageNames) -> tuple[int, ...]:
            names = [images] if isinstance(images, (str, Path)) else images
            return tuple(find_named_image(self._workspace.catalogue, str(name)) for name in names)

        return SimilarTo(like=image_ids(like), unlike=image_ids(unlike))


def open_workspace(folder: Path, *, trust: bool = False) -> WorkspaceApi:
    """Open the workspace at `folder` or at the nearest folder above it.

    `trust` agrees to the code in it, as it is now.
    """
    from curator.classifiers.user_code import code_of
    from curator.rounds.commit import catch_up
    from curator.workspace import find_workspace, open_workspace

    workspace = open_workspace(find_workspace(folder))
    if trust:
        code_of(workspace.root).trust()
    catch_up(workspace)
    return WorkspaceApi(workspace)


def create_workspace(
    folder: Path,
    *,
    positive: str | None,
    negative: str | None,
    recipe: str | None,
    catalogue_url: str = "",
) -> WorkspaceApi:
    """Make a workspace in `folder` and open it; `catalogue_url` names an empty database."""
    from curator.workspace import create_workspace

    return WorkspaceApi(
        create_workspace(
            folder,
            positive=positive,
            negative=negative,
            recipe=recipe,
            catalogue_url=catalogue_url,
        )
    )
