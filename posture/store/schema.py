"""The tables, as migrations. A migration is never changed once released; a new one is added below."""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from .database import TRIGGERS

migrations = Migrations("posture")


@migrations(name="0001_axis_objects_findings")
def _first(db: Database) -> None:
    for statement in (*_FIRST.split(";\n\n"), *TRIGGERS):
        db.execute(statement)


@migrations(name="0002_positions")
def _second(db: Database) -> None:
    db.execute(_SECOND)


@migrations(name="0003_audited")
def _third(db: Database) -> None:
    db.execute(_THIRD)


_THIRD = """
-- Who made an object what it is since a revision: the request that an audit log had of it. Hand-made changes of these
-- rows show as a hash that does not hold.
CREATE TABLE audited (
  object INTEGER NOT NULL REFERENCES object(id),
  revision INTEGER NOT NULL,      -- the since of its version, or the until of its last
  user TEXT NOT NULL,
  acting_as TEXT NOT NULL,
  address TEXT NOT NULL,
  agent TEXT NOT NULL,
  request TEXT NOT NULL,
  identity TEXT NOT NULL,
  time TEXT NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (object, revision)
) WITHOUT ROWID"""


_SECOND = """
-- Where the watcher goes on from: the resourceVersion up to which each list of the newest revision is known.
CREATE TABLE position (
  cluster TEXT NOT NULL REFERENCES cluster(id),
  resource TEXT NOT NULL,
  namespace TEXT NOT NULL,
  part TEXT NOT NULL,
  resource_version TEXT NOT NULL,
  PRIMARY KEY (cluster, resource, namespace, part)
) WITHOUT ROWID"""


_FIRST = """
-- A cluster by its id (kube-system's uid, else --cluster, else "local"); names are aliases.
CREATE TABLE cluster (id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE cluster_name (name TEXT PRIMARY KEY, cluster TEXT NOT NULL REFERENCES cluster(id)) WITHOUT ROWID;

-- The axis: a scan commits one revision, a watcher one for each batch. Order is by id, never by clock.
CREATE TABLE revision (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cluster TEXT NOT NULL REFERENCES cluster(id),
  time TEXT NOT NULL,
  source TEXT NOT NULL,
  complete INTEGER NOT NULL,      -- 0: a required kind was forbidden, failed or truncated
  server_version TEXT,            -- NULL: a folder
  assumed TEXT NOT NULL,          -- JSON: what was filled in rather than read
  inputs TEXT NOT NULL,           -- hash of everything but the objects that was judged with
  summary TEXT NOT NULL,          -- JSON: counts of the run
  state BLOB NOT NULL,            -- sum of the hashes of the objects and gaps that hold at it
  findings BLOB NOT NULL,         -- sum of the hashes of the cluster's findings; of the newest, decisions move it too
  journal BLOB NOT NULL           -- hash of the last decision of any cluster when it was written; empty: none yet
);

CREATE INDEX revision_of_cluster ON revision(cluster, id);

-- Projections by hash: equal objects, in any namespace, at any time, are one row.
CREATE TABLE content (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, body BLOB NOT NULL);

CREATE TABLE object (
  id INTEGER PRIMARY KEY,
  cluster TEXT NOT NULL REFERENCES cluster(id),
  resource TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  UNIQUE (cluster, resource, namespace, name)
);

-- What an object was, as intervals of revisions: [since, until). uid, times and managers stand beside the content.
CREATE TABLE version (
  object INTEGER NOT NULL REFERENCES object(id),
  since INTEGER NOT NULL,         -- a revision that may be pruned while this one still holds
  until INTEGER,
  content INTEGER NOT NULL REFERENCES content(id),
  uid TEXT NOT NULL,
  created TEXT NOT NULL,
  resource_version TEXT NOT NULL,
  managers TEXT NOT NULL,
  PRIMARY KEY (object, since)
) WITHOUT ROWID;

CREATE INDEX version_content ON version(content);

-- An object whose kind was not read keeps its version, and is unverified for these revisions: [since, until).
CREATE TABLE unverified (
  object INTEGER NOT NULL REFERENCES object(id), since INTEGER NOT NULL, until INTEGER, PRIMARY KEY (object, since)
) WITHOUT ROWID;

CREATE TABLE gap (
  cluster TEXT NOT NULL REFERENCES cluster(id),
  resource TEXT NOT NULL,
  namespace TEXT NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER
);

CREATE INDEX gap_of_cluster ON gap(cluster, since);

-- What was agreed: a revision, and objects that stand in for those of the revision (content NULL: taken out).
CREATE TABLE baseline (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  cluster TEXT NOT NULL REFERENCES cluster(id),
  revision INTEGER NOT NULL REFERENCES revision(id),
  time TEXT NOT NULL,
  approved_by TEXT NOT NULL,
  why TEXT NOT NULL
);

CREATE TABLE baseline_object (
  baseline INTEGER NOT NULL REFERENCES baseline(id),
  resource TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  content INTEGER REFERENCES content(id),
  PRIMARY KEY (baseline, resource, namespace, name)
) WITHOUT ROWID;

CREATE TABLE finding (
  id INTEGER PRIMARY KEY,
  cluster TEXT NOT NULL REFERENCES cluster(id),
  fingerprint TEXT NOT NULL,
  grp TEXT NOT NULL,
  domain TEXT NOT NULL,
  subject TEXT NOT NULL,
  scope TEXT NOT NULL,
  severity INTEGER NOT NULL,      -- 0 critical … 4 info
  presence TEXT NOT NULL,         -- present, absent, unknown
  mark TEXT NOT NULL,             -- new, widened, regressed or nothing
  agreed INTEGER NOT NULL,
  exceeded INTEGER NOT NULL,      -- more was gained than the decision covers
  decision INTEGER REFERENCES decision(id),
  assignee TEXT NOT NULL,
  owner TEXT NOT NULL,            -- who must act: the assignee, if there is one
  unowned INTEGER NOT NULL,
  opened TEXT NOT NULL,
  changed TEXT NOT NULL,
  resolved TEXT NOT NULL,
  content TEXT NOT NULL,          -- JSON: everything else
  UNIQUE (cluster, fingerprint)
);

CREATE INDEX finding_of_cluster ON finding(cluster, presence, severity);

CREATE INDEX finding_of_group ON finding(grp);

-- Another name of a finding: its carrier was renamed with equal effect.
CREATE TABLE alias (
  cluster TEXT NOT NULL, fingerprint TEXT NOT NULL, finding INTEGER NOT NULL REFERENCES finding(id),
  PRIMARY KEY (cluster, fingerprint)
) WITHOUT ROWID;

CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  finding INTEGER NOT NULL REFERENCES finding(id),
  revision INTEGER,
  time TEXT NOT NULL,
  kind TEXT NOT NULL,
  detail TEXT NOT NULL
);

CREATE INDEX event_of_finding ON event(finding);

-- The journal of what people decided: append-only, each row hashed over the one before. The fingerprint of an approval
-- of a baseline is empty.
CREATE TABLE decision (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  time TEXT NOT NULL,
  decided_by TEXT NOT NULL,
  cluster TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  action TEXT NOT NULL,
  reason TEXT NOT NULL,
  until TEXT NOT NULL,
  assignee TEXT NOT NULL,
  covers TEXT NOT NULL,           -- JSON: the units that were recorded with it; of an approval, what it holds
  hash BLOB NOT NULL
);

CREATE INDEX decision_of_finding ON decision(cluster, fingerprint)
"""
