-- The least and greatest of a table's columns at a version: a JSON object of column ->
-- [minimum, maximum], or null where all is NULL; a column that is not named, and a
-- version without, are unknown.
ALTER TABLE table_version ADD COLUMN bounds TEXT;
