"""Who is measured, and with which settings. Versions are pinned in each one's requirements.txt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Variant:
    """One way to run the workers of a contender."""

    command: Sequence[str]
    """The worker's command; `{bin}` is where its environment has its programs, `{url}` where
    its jobs are."""
    settings: str
    """What a reader has to know to do the same."""
    processes: int = 1
    """How many times the command is started; commands that fork by themselves are started once."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A job queue on one database."""

    name: str
    vendor: str
    folder: str
    package: str
    variants: Mapping[str, Variant]
    environment: Mapping[str, str] = field(default_factory=dict)
    bulk: bool = True
    """Whether it has a call that enqueues many."""
    schedules: bool = True
    """Whether it can be told a time."""
    future: bool = True
    """Whether a million jobs can be made to wait in it."""
    limit: bool = False
    """Whether this is no job queue but what the database allows; only its throughput counts."""

    @property
    def key(self) -> str:
        """What results call it."""
        return f"{self.name}/{self.vendor}"


def _ours(vendor: str, best: Sequence[str]) -> Contender:
    settings = f"`manage.py operator {' '.join(best).replace('=', ' ')}`"
    command = ["{bin}/python", "-m", "django", "operator", "--verbosity=0"]
    return Contender(
        name="ours",
        vendor=vendor,
        folder="ours",
        package="django-operator-app",
        environment=_django("ours"),
        variants={
            "defaults": Variant(command, "`manage.py operator`"),
            "best": Variant([*command, *best], settings),
        },
    )


def _django(folder: str) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": f"benchmarks.peers.{folder}.settings"}


def _limit_orm(vendor: str) -> Contender:
    command = ["{bin}/python", "-m", "benchmarks.peers.limit_orm.worker"]
    return Contender(
        name="limit-orm",
        vendor=vendor,
        folder="limit_orm",
        package="django",
        environment=_django("limit_orm"),
        limit=True,
        variants={
            "batches": Variant(command, "batches of 100, one process"),
            "two processes": Variant(command, "batches of 100, two processes", processes=2),
        },
    )


def _tasks_db(vendor: str) -> Contender:
    command = ["{bin}/python", "-m", "django", "db_worker", "--verbosity=0"]
    return Contender(
        name="django-tasks-db",
        vendor=vendor,
        folder="tasks_db",
        package="django-tasks-db",
        environment=_django("tasks_db"),
        bulk=False,
        variants={
            "defaults": Variant(command, "`manage.py db_worker`"),
            "best": Variant(
                [*command, "--interval=0.05", "--no-startup-delay"],
                "two of `manage.py db_worker --interval 0.05`, CONN_MAX_AGE 600",
                processes=2,
            ),
        },
    )


def _ox(vendor: str) -> Contender:
    command = ["{bin}/python", "-m", "django", "ox_worker", "--verbosity=0"]
    best = ["--interval=0.05", "--concurrency=4"]
    several = ["--processes=2"] if vendor == "postgresql" else []
    return Contender(
        name="django-ox",
        vendor=vendor,
        folder="ox",
        package="django-ox",
        environment=_django("ox"),
        variants={
            "defaults": Variant(command, "`manage.py ox_worker`"),
            "best": Variant(
                [*command, *best, *several],
                f"`manage.py ox_worker {' '.join([*best, *several]).replace('=', ' ')}`, "
                "CONN_MAX_AGE 600",
            ),
        },
    )


def _q2(vendor: str) -> Contender:
    command = ["{bin}/python", "-m", "django", "qcluster", "--verbosity=0"]
    return Contender(
        name="django-q2",
        vendor=vendor,
        folder="q2",
        package="django-q2",
        environment=_django("q2"),
        bulk=False,
        variants={
            "defaults": Variant(command, "`manage.py qcluster`, timeout 50, retry 60"),
            "best": Variant(
                command,
                "`manage.py qcluster`, workers 2, bulk 100, queue_limit 500, poll 0.01, no results "
                "saved, CONN_MAX_AGE 600",
            ),
        },
    )


def _huey(vendor: str) -> Contender:
    command = ["{bin}/huey_consumer", "benchmarks.peers.huey.app.huey"]
    best = ["--workers=2", "--worker-type=process", "--delay=0.01", "--max-delay=0.05"]
    synchronous = {"defaults": "", "best": ""}
    if vendor == "sqlite":
        synchronous = {"defaults": ", synchronous=FULL", "best": ", synchronous=NORMAL"}
    return Contender(
        name="huey",
        vendor=vendor,
        folder="huey",
        package="huey",
        environment={},
        bulk=False,
        future=vendor != "redis",
        variants={
            "defaults": Variant(command, f"`huey_consumer`: one thread{synchronous['defaults']}"),
            "best": Variant(
                [*command, *best, "--quiet"],
                "`huey_consumer --workers 2 --worker-type process --delay 0.01 --max-delay 0.05`"
                + synchronous["best"],
            ),
        },
    )


SQL = ["{bin}/python", "-m", "benchmarks.peers.limit_sql.worker"]
PROCRASTINATE = ["{bin}/procrastinate", "--app=benchmarks.peers.procrastinate.app.app", "worker"]
CHANCY = ["{bin}/chancy", "--app=benchmarks.peers.chancy.app.chancy", "worker", "start"]
RQ = ["{bin}/rq"]
CELERY = ["{bin}/celery", "--app=benchmarks.peers.celery.app", "--quiet", "worker"]
QUIET_CELERY = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
PGQUEUER = ["{bin}/pgq", "run", "benchmarks.peers.pgqueuer.app:create"]

CONTENDERS = [
    _ours("postgresql", ["--processes=2", "--threads=1"]),
    _ours("sqlite", ["--processes=2", "--threads=1"]),
    _ours("mariadb", ["--processes=2", "--threads=1"]),
    Contender(
        name="limit-sql",
        vendor="postgresql",
        folder="limit_sql",
        package="psycopg",
        limit=True,
        variants={
            "one at a time": Variant([*SQL, "1"], "one connection, one job at a time"),
            "batches": Variant([*SQL, "100"], "batches of 100, one process"),
            "two processes": Variant([*SQL, "100"], "batches of 100, two processes", processes=2),
        },
    ),
    _limit_orm("postgresql"),
    _limit_orm("sqlite"),
    Contender(
        name="procrastinate",
        vendor="postgresql",
        folder="procrastinate",
        package="procrastinate",
        variants={
            "defaults": Variant(PROCRASTINATE, "`procrastinate worker`, async task"),
            "best": Variant(
                [*PROCRASTINATE, "--concurrency=10", "--delete-jobs=always"],
                "two of `procrastinate worker --concurrency 10 --delete-jobs always`, async task",
                processes=2,
            ),
        },
    ),
    Contender(
        name="pgqueuer",
        vendor="postgresql",
        folder="pgqueuer",
        package="pgqueuer",
        variants={
            "defaults": Variant(PGQUEUER, "`pgq run`, asyncpg, uvloop"),
            "best": Variant(
                [*PGQUEUER, "--batch-size=100"],
                "two of `pgq run --batch-size 100`, asyncpg, uvloop",
                processes=2,
            ),
        },
    ),
    Contender(
        name="chancy",
        vendor="postgresql",
        folder="chancy",
        package="chancy",
        variants={
            "defaults": Variant(CHANCY, '`chancy worker start`, `Queue("default")`'),
            "best": Variant(
                CHANCY,
                "two of `chancy worker start`, async executor, concurrency 1,000, poll 1 s, eager",
                processes=2,
            ),
        },
    ),
    *(_tasks_db(vendor) for vendor in ("postgresql", "sqlite")),
    *(_ox(vendor) for vendor in ("postgresql", "sqlite")),
    *(_q2(vendor) for vendor in ("postgresql", "sqlite")),
    *(_huey(vendor) for vendor in ("sqlite", "postgresql", "redis")),
    Contender(
        name="rq",
        vendor="redis",
        folder="rq",
        package="rq",
        future=False,
        variants={
            "defaults": Variant(
                [*RQ, "worker", "--url={url}", "--with-scheduler", "--quiet"],
                "`rq worker --with-scheduler`: a fork for each job",
            ),
            "best": Variant(
                [
                    *RQ,
                    "worker",
                    "--url={url}",
                    "--with-scheduler",
                    "--worker-class=rq.SimpleWorker",
                    "--quiet",
                ],
                "two of `rq worker --with-scheduler --worker-class rq.SimpleWorker`",
                processes=2,
            ),
        },
    ),
    Contender(
        name="celery",
        vendor="redis",
        folder="celery",
        package="celery",
        bulk=False,
        future=False,
        variants={
            "defaults": Variant(CELERY, "`celery worker`: prefork, a child for each core"),
            "best": Variant(
                [*CELERY, "--pool=solo", *QUIET_CELERY],
                "two of `celery worker --pool solo`, prefetch 64, no gossip, mingle, heartbeat",
                processes=2,
            ),
        },
    ),
]
