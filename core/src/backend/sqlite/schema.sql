-- Times are nanoseconds of the boot-time clock: they mean something only
-- together with boot.id.
CREATE TABLE boot (
    id        TEXT NOT NULL,    -- the boot id and the time namespace
    forgotten INTEGER NOT NULL  -- the largest fence of all locks that were dropped
);
INSERT INTO boot VALUES ('', 0);
CREATE TABLE locks_4 (  -- the schema's version: see file.rs
    name    TEXT PRIMARY KEY,
    fence   INTEGER NOT NULL,   -- of the last grant; at least its wall clock in µs
    owner   BLOB,               -- null: nobody holds it
    client  INTEGER,            -- the holder's bell
    label   TEXT,
    since   INTEGER,
    expires INTEGER,
    line    TEXT,               -- the waiters as JSON; null: nobody waits
    sharers TEXT                -- all holders as JSON, if they share it; owner is one of them
) WITHOUT ROWID;
