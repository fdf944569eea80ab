-- Whether all files of a version are known. Of one that is older than the newest some may
-- be lost when the metadata are rebuilt: it is shown no more, rather than in part.
ALTER TABLE table_version ADD COLUMN whole INTEGER NOT NULL DEFAULT 1;
