-- Finds whether a file's content is in a table already.
CREATE INDEX contribution_by_content ON contribution (table_id, sha256);
