-- The metadata of one cluster: what is live, who holds it, how it came to be.
--
-- Written for SQLite and PostgreSQL alike. A statement ends with a semicolon at the end
-- of its line. Times are UTC, ISO 8601. A manifest version is the id of the snapshot
-- that made it visible, so that one number resolves everything.

CREATE TABLE format (
    version BIGINT PRIMARY KEY,
    applied TEXT NOT NULL
);

-- One row. `allocated` is the last number given to a commit, whether or not it ended
-- well: a number is never used twice, so no worker can confuse two manifests.
CREATE TABLE cluster (
    id TEXT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    allocated BIGINT NOT NULL
);

CREATE TABLE worker (
    id TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    joined TEXT NOT NULL
);

-- The life of a load. A row that is neither committed nor aborted when a czar starts
-- belongs to a czar that died.
CREATE TABLE load (
    id TEXT PRIMARY KEY,
    release_name TEXT NOT NULL,
    family_name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('begun', 'committed', 'aborted')),
    who TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    begun TEXT NOT NULL,
    ended TEXT,
    reason TEXT NOT NULL
);

-- Workers that have yet to forget an aborted load.
CREATE TABLE discard (
    load_id TEXT NOT NULL REFERENCES load (id),
    worker_id TEXT NOT NULL REFERENCES worker (id),
    PRIMARY KEY (load_id, worker_id)
);

CREATE TABLE snapshot (
    id BIGINT PRIMARY KEY,
    load_id TEXT REFERENCES load (id),
    created TEXT NOT NULL
);

-- Releases that share one chunk tree. `overlap` in degrees.
CREATE TABLE family (
    name TEXT PRIMARY KEY,
    overlap DOUBLE PRECISION NOT NULL,
    leaf_rows BIGINT NOT NULL,
    leaf_bytes BIGINT NOT NULL,
    replicas BIGINT NOT NULL
);

-- The tree that is valid from a snapshot on.
CREATE TABLE tree (
    family_name TEXT NOT NULL REFERENCES family (name),
    version BIGINT NOT NULL,
    snapshot_id BIGINT NOT NULL REFERENCES snapshot (id),
    PRIMARY KEY (family_name, version)
);

-- The leaves of a tree; `position` is their order along the sky.
CREATE TABLE leaf (
    family_name TEXT NOT NULL,
    version BIGINT NOT NULL,
    position BIGINT NOT NULL,
    chunk BIGINT NOT NULL,
    PRIMARY KEY (family_name, version, position),
    FOREIGN KEY (family_name, version) REFERENCES tree (family_name, version)
);

-- Which workers hold a chunk (0: the replicated tables), preferred first.
CREATE TABLE placement (
    family_name TEXT NOT NULL REFERENCES family (name),
    chunk BIGINT NOT NULL,
    preference BIGINT NOT NULL,
    worker_id TEXT NOT NULL REFERENCES worker (id),
    PRIMARY KEY (family_name, chunk, preference),
    UNIQUE (family_name, chunk, worker_id)
);

-- `folded` is the name in lower case: names are matched in any case.
CREATE TABLE catalog_release (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,
    alias TEXT UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('loading', 'published', 'archived')),
    family_name TEXT NOT NULL REFERENCES family (name),
    created TEXT NOT NULL
);

CREATE TABLE catalog_table (
    id BIGINT PRIMARY KEY,
    release_id BIGINT NOT NULL REFERENCES catalog_release (id),
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (
        kind IN ('director', 'child', 'ref-match', 'replicated')
    ),
    key_column TEXT,
    director TEXT,
    longitude TEXT,
    latitude TEXT,
    description TEXT NOT NULL,
    UNIQUE (release_id, folded)
);

CREATE TABLE catalog_column (
    table_id BIGINT NOT NULL REFERENCES catalog_table (id),
    position BIGINT NOT NULL,
    name TEXT NOT NULL,
    datatype TEXT NOT NULL,
    unit TEXT NOT NULL,
    ucd TEXT NOT NULL,
    description TEXT NOT NULL,
    nullable BOOLEAN NOT NULL,
    PRIMARY KEY (table_id, position)
);

-- A named query over a release, shown to users as a table.
CREATE TABLE catalog_view (
    release_id BIGINT NOT NULL REFERENCES catalog_release (id),
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    language TEXT NOT NULL,
    definition TEXT NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (release_id, folded)
);

-- A table's list of files at `version`; `live_rows` counts it without a scan.
CREATE TABLE table_version (
    table_id BIGINT NOT NULL REFERENCES catalog_table (id),
    version BIGINT NOT NULL REFERENCES snapshot (id),
    tree_version BIGINT NOT NULL,
    live_rows BIGINT NOT NULL,
    PRIMARY KEY (table_id, version)
);

-- One immutable file, live in the versions [valid_from, valid_to). `delta` is δ in
-- degrees, `bounds` a JSON object of column -> [minimum, maximum].
CREATE TABLE manifest_entry (
    id BIGINT PRIMARY KEY,
    table_id BIGINT NOT NULL REFERENCES catalog_table (id),
    role TEXT NOT NULL CHECK (role IN ('base', 'delta', 'overlap', 'index')),
    chunk BIGINT NOT NULL,
    path TEXT NOT NULL UNIQUE,
    total_rows BIGINT NOT NULL,
    live_rows BIGINT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    bounds TEXT NOT NULL,
    delta DOUBLE PRECISION,
    valid_from BIGINT NOT NULL REFERENCES snapshot (id),
    valid_to BIGINT REFERENCES snapshot (id)
);
CREATE INDEX manifest_entry_by_table ON manifest_entry (table_id, chunk);

-- One copy of a file, and when its checksum was last seen to be right.
CREATE TABLE replica (
    entry_id BIGINT NOT NULL REFERENCES manifest_entry (id),
    worker_id TEXT NOT NULL REFERENCES worker (id),
    state TEXT NOT NULL CHECK (state IN ('live', 'quarantined')),
    verified TEXT NOT NULL,
    PRIMARY KEY (entry_id, worker_id)
);

-- Where the rows came from: one input file of one load.
CREATE TABLE contribution (
    id BIGINT PRIMARY KEY,
    load_id TEXT NOT NULL REFERENCES load (id),
    table_id BIGINT NOT NULL REFERENCES catalog_table (id),
    source TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    total_rows BIGINT NOT NULL,
    nulled BIGINT NOT NULL,
    wrapped BIGINT NOT NULL
);

-- Who still reads a snapshot: its files stay until then.
CREATE TABLE lease (
    id TEXT PRIMARY KEY,
    snapshot_id BIGINT NOT NULL REFERENCES snapshot (id),
    holder TEXT NOT NULL,
    expires TEXT NOT NULL
);
