-- How many characters a text may have, and whether a child's rows without director are
-- kept (1) or refused (0).
ALTER TABLE catalog_column ADD COLUMN length BIGINT;
ALTER TABLE catalog_table ADD COLUMN orphans BIGINT NOT NULL DEFAULT 0;
