CREATE TABLE $table (
    name    text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    fence   bigint NOT NULL,
    owner   text COLLATE "C",
    client  bigint,
    label   text,
    since   timestamptz,
    expires timestamptz,
    line    jsonb,
    sharers jsonb,
    careful timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE $table IS 'Locks of Leasehold, one row each. A row stays for a day after its last use. The row without a name is about the table: its version is that of the schema, its label names the table, its fence is the largest of all rows that were dropped.';
COMMENT ON COLUMN $table.version IS 'another one after every change of the row';
COMMENT ON COLUMN $table.fence IS 'fencing token of the last grant; at least its time in microseconds since 1970';
COMMENT ON COLUMN $table.owner IS 'the attempt that holds the lock; null: nobody. Only zeros: it was given back and rests';
COMMENT ON COLUMN $table.client IS 'who listens on the channel leasehold_CLIENT; 0: nobody';
COMMENT ON COLUMN $table.expires IS 'when the lease or the rest is over unless it is renewed, by the clock of this server; of several the last';
COMMENT ON COLUMN $table.line IS 'who waits, first come first; until is in nanoseconds since 1970';
COMMENT ON COLUMN $table.sharers IS 'all who hold the lock, if they share it; owner is one of them';
COMMENT ON COLUMN $table.careful IS 'until then every change names the version that it saw, as an old request may still come';
INSERT INTO $table (name, version, fence, label)
    VALUES ('', 1, 0, pg_catalog.md5(pg_catalog.random()::text || pg_catalog.clock_timestamp()::text))
