-- What placement is to become, and what workers are to do with what they hold.

-- A worker that is `draining` keeps what it has until others have it, and gets nothing
-- new; one that is `lost` is never again expected.
ALTER TABLE worker ADD COLUMN state TEXT NOT NULL DEFAULT 'active';

-- Which workers shall hold a chunk, where that is not who holds it: a row of `placement`
-- follows when everything of the chunk is there.
CREATE TABLE goal (
    family_name TEXT NOT NULL REFERENCES family (name),
    chunk BIGINT NOT NULL,
    preference BIGINT NOT NULL,
    worker_id TEXT NOT NULL REFERENCES worker (id),
    PRIMARY KEY (family_name, chunk, preference)
);

-- Copies that no query asks for any longer, and that a worker has yet to drop.
CREATE TABLE leaving (
    entry_id BIGINT NOT NULL REFERENCES manifest_entry (id),
    worker_id TEXT NOT NULL REFERENCES worker (id),
    PRIMARY KEY (entry_id, worker_id)
);
