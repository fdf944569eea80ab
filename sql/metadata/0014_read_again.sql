-- Where the rows of a contribution were before a later load read them again: in files of
-- a table since one snapshot, until another. A table that goes back to an older version
-- has them there again.
CREATE TABLE contribution_before (
    contribution_id BIGINT NOT NULL REFERENCES contribution (id),
    table_id BIGINT NOT NULL REFERENCES catalog_table (id),
    held_since BIGINT NOT NULL REFERENCES snapshot (id),
    held_until BIGINT NOT NULL REFERENCES snapshot (id),
    PRIMARY KEY (contribution_id, held_until)
);
