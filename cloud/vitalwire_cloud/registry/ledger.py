"""What the registry remembers: published models, their rollout, the gateways and everything they reported.

Four tables on any database SQLAlchemy knows; the artifact files lie beside it in a folder, named by what they are.
Numbers of versions come from here, so they only grow.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from vitalwire_cloud.metadata.migrations import Family, NewerSchemaError, made, migrate
from vitalwire_edge.inference.artifact import Manifest, sha256
from vitalwire_edge.process.durable import write_durably
from vitalwire_edge.wire.models import ModelReport

_metadata: Final = sa.MetaData()

_MODEL: Final = sa.Table(
    "model",
    _metadata,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(32), nullable=False),
    sa.Column("manifest_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("manifest", sa.LargeBinary, nullable=False),
    sa.Column("signed_by", sa.String(64), nullable=False),
    sa.Column("published_ns", sa.BigInteger, nullable=False),
    sa.Column("gate", sa.LargeBinary),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("first", sa.LargeBinary, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
_GATEWAY: Final = sa.Table(
    "gateway",
    _metadata,
    sa.Column("site", sa.String(32), primary_key=True),
    sa.Column("gateway", sa.String(32), primary_key=True),
    sa.Column("running_version", sa.BigInteger, nullable=False),
    sa.Column("running_sha256", sa.String(64), nullable=False),
    sa.Column("reported_ns", sa.BigInteger, nullable=False),
)
_REPORT: Final = sa.Table(
    "model_report",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("site", sa.String(32), nullable=False),
    sa.Column("gateway", sa.String(32), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("received_ns", sa.BigInteger, nullable=False),
    sa.Column("report", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("site", "gateway", "sha256", "state"),
)

FAMILY: Final = Family("registry", (made(_metadata),))

Stage = Literal["first", "all", "halted", "replaced", "idle"]
"""`first`: offered to a few. `all`: offered to everybody. `halted`: to nobody. `replaced`: a higher version came.

`idle`: known and never offered, as a model that ships with the software.
"""


class RegistryError(Exception):
    """The registry cannot do it; the message names what is wrong and the fix."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A published model. `first` are the gateways (site, name) that get it before the others."""

    version: int
    name: str
    manifest_sha256: str
    sha256: str
    size: int
    manifest: Manifest
    signed_by: str
    published_ns: int
    gate: bytes | None
    stage: Stage
    first: tuple[tuple[str, str], ...]
    why: str

    @property
    def file_name(self) -> str:
        """Name of its artifact file."""
        return f"{self.name}-{self.version}.vwm"


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway and the model that it last said to run (version 0: none)."""

    site: str
    gateway: str
    running_version: int
    running_sha256: str
    reported_ns: int

    @property
    def key(self) -> tuple[str, str]:
        """Site and name."""
        return self.site, self.gateway


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """A report as it came."""

    site: str
    gateway: str
    received_ns: int
    report: ModelReport


class ModelLedger:
    """Models, gateways and reports behind `url`; artifact files in `folder`. Raises `RegistryError`."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._engine = sa.create_engine(
            url, connect_args={"timeout": 5.0} if sa.make_url(url).get_backend_name() == "sqlite" else {}
        )
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _durable)
        with self._translated():
            folder.mkdir(parents=True, exist_ok=True)
            migrate(self._engine, FAMILY)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def next_version(self) -> int:
        """The version after every one that was published, and after every one that a gateway reported."""
        with self._transaction() as db:
            highest = db.execute(sa.select(sa.func.max(_MODEL.c.version))).scalar() or 0
            running = db.execute(sa.select(sa.func.max(_GATEWAY.c.running_version))).scalar() or 0
        return int(max(highest, running)) + 1

    def add(self, model: Model, data: bytes) -> None:
        """Keep a signed artifact. A model that it takes the place of is not offered any more."""
        path = self.folder / model.file_name
        if path.exists() and path.read_bytes() != data:
            raise RegistryError(f"{path} is another model of the same version: versions only grow")
        with self._transaction() as db:
            highest = db.execute(sa.select(sa.func.max(_MODEL.c.version))).scalar() or 0
            if model.version <= highest:
                raise RegistryError(
                    f"version {model.version} after {highest}: versions only grow, publish a higher one"
                )
            # The file first: a row never names a file that is not there.
            write_durably(path, data)
            if model.stage != "idle":
                offered = _MODEL.c.stage.in_(("first", "all"))
                db.execute(sa.update(_MODEL).where(offered).values(stage="replaced"))
            db.execute(sa.insert(_MODEL).values(**_columns(model)))

    def models(self) -> list[Model]:
        """Every model, the newest first."""
        with self._transaction() as db:
            return [_model(row) for row in db.execute(sa.select(_MODEL).order_by(_MODEL.c.version.desc()))]

    def model(self, version: int) -> Model:
        """The model of that version."""
        found = next((model for model in self.models() if model.version == version), None)
        if found is None:
            raise RegistryError(f"no model of version {version}: `vitalwire model list` shows them")
        return found

    def target(self) -> Model | None:
        """The model that is on offer now."""
        return next((model for model in self.models() if model.stage in ("first", "all")), None)

    def data(self, model: Model) -> bytes:
        """Artifact file of a model, checked against what was published."""
        path = self.folder / model.file_name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RegistryError(f"artifact {path} cannot be read: {error.strerror}") from error
        if sha256(data) != model.sha256:
            raise RegistryError(f"artifact {path} is not what was published: put the right file back")
        return data

    def report_path(self, sha256: str) -> Path:
        """Where the report of that hash is, or would be."""
        return self.folder / f"report-{sha256}.html"

    def keep_report(self, page: bytes) -> None:
        """Keep the page that tells how a model was judged, named by its hash."""
        with self._translated():
            write_durably(self.report_path(sha256(page)), page)

    def set_stage(self, version: int, stage: Stage, why: str) -> None:
        """Move a rollout on, or stop it."""
        with self._transaction() as db:
            db.execute(sa.update(_MODEL).where(_MODEL.c.version == version).values(stage=stage, why=why))

    def set_first(self, version: int, first: tuple[tuple[str, str], ...]) -> None:
        """Name the gateways that get a model before the others."""
        with self._transaction() as db:
            values = {"first": msgspec.json.encode(first)}
            db.execute(sa.update(_MODEL).where(_MODEL.c.version == version).values(values))

    def record(self, site: str, gateway: str, report: ModelReport, received_ns: int) -> bool:
        """Keep a report; False when the gateway said the same before."""
        values: dict[str, Any] = {
            "running_version": report.running_version,
            "running_sha256": report.running_sha256,
            "reported_ns": received_ns,
        }
        is_it = sa.and_(_GATEWAY.c.site == site, _GATEWAY.c.gateway == gateway)
        same = sa.and_(
            _REPORT.c.site == site,
            _REPORT.c.gateway == gateway,
            _REPORT.c.sha256 == report.sha256,
            _REPORT.c.state == report.state,
        )
        with self._transaction() as db:
            if not db.execute(sa.update(_GATEWAY).where(is_it).values(values)).rowcount:
                db.execute(sa.insert(_GATEWAY).values(site=site, gateway=gateway, **values))
            said: dict[str, Any] = {"received_ns": received_ns, "report": msgspec.msgpack.encode(report)}
            if db.execute(sa.update(_REPORT).where(same).values(said)).rowcount:
                return False
            db.execute(
                sa.insert(_REPORT).values(
                    site=site, gateway=gateway, sha256=report.sha256, state=report.state, **said
                )
            )
        return True

    def gateways(self) -> list[Gateway]:
        """Every gateway that reported, by name."""
        with self._transaction() as db:
            rows = db.execute(sa.select(_GATEWAY).order_by(_GATEWAY.c.site, _GATEWAY.c.gateway))
            return [Gateway(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it

    def reports(self, file_sha256: str | None = None) -> list[Reported]:
        """The last report of each state by each gateway, of one artifact or of all, in order."""
        query = sa.select(_REPORT.c.site, _REPORT.c.gateway, _REPORT.c.received_ns, _REPORT.c.report)
        if file_sha256 is not None:
            query = query.where(_REPORT.c.sha256 == file_sha256)
        with self._transaction() as db:
            return [
                Reported(
                    site=site,
                    gateway=gateway,
                    received_ns=received_ns,
                    report=msgspec.msgpack.decode(report, type=ModelReport),
                )
                for site, gateway, received_ns, report in db.execute(query.order_by(_REPORT.c.id))
            ]

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except NewerSchemaError as error:
            raise RegistryError(str(error)) from error
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise RegistryError(f"model registry {self._engine.url!r}: {reason}") from error
        except OSError as error:
            raise RegistryError(f"model registry {self.folder}: {error.strerror or error}") from error


def open_ledger(data_dir: Path, url: str | None = None) -> ModelLedger:
    """The registry of a service's data folder. Raises `RegistryError`."""
    if url is None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(f"data folder {data_dir}: {error.strerror}") from error
        url = f"sqlite:///{(data_dir / 'models.sqlite').absolute()}"
    return ModelLedger(url, data_dir / "models")


def _columns(model: Model) -> dict[str, Any]:
    plain = {name: getattr(model, name) for name in Model.__struct_fields__}
    return plain | {
        "manifest": msgspec.json.encode(model.manifest),
        "first": msgspec.json.encode(model.first),
    }


def _model(row: sa.Row[Any]) -> Model:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    values["manifest"] = msgspec.json.decode(values["manifest"], type=Manifest)
    values["first"] = msgspec.json.decode(values["first"], type=tuple[tuple[str, str], ...])
    return Model(**values)


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
