-- A named query over a release, shown to users as a table, live in the versions
-- [valid_from, valid_to). It takes the place of a table that was never written to.
DROP TABLE catalog_view;
CREATE TABLE catalog_view (
    id BIGINT PRIMARY KEY,
    release_id BIGINT NOT NULL REFERENCES catalog_release (id),
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    definition TEXT NOT NULL,
    description TEXT NOT NULL,
    valid_from BIGINT NOT NULL REFERENCES snapshot (id),
    valid_to BIGINT REFERENCES snapshot (id)
);
CREATE UNIQUE INDEX catalog_view_live
    ON catalog_view (release_id, folded) WHERE valid_to IS NULL;
