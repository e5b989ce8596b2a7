CREATE TABLE $table (
    name    VARBINARY(1024) NOT NULL PRIMARY KEY COMMENT 'of the lock; UTF-8, compared by its bytes',
    version BIGINT NOT NULL COMMENT 'another one after every change of the row',
    fence   BIGINT NOT NULL COMMENT 'fencing token of the last grant; at least its time',
    owner   CHAR(32) CHARACTER SET ascii COLLATE ascii_bin COMMENT 'the attempt that holds the lock; null: nobody. Only zeros: it was given back and rests',
    client  BIGINT COMMENT '0',
    label   MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'what the holder shows',
    since   BIGINT COMMENT 'when the lock was taken',
    expires BIGINT COMMENT 'when the lease or the rest is over unless it is renewed, by the clock of this server; of several the last',
    line    LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'who waits, first come first; until is in nanoseconds since 1970',
    sharers LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'all who hold the lock, if they share it; owner is one of them',
    careful BIGINT COMMENT 'until then every change names the version that it saw, as an old request may still come',
    UNIQUE KEY guard (fence, name, owner) COMMENT 'what a guard locks: renewals leave it alone, who takes a lock has to change it'
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
    COMMENT 'Locks of Leasehold, one row each; a row stays for a day after its last use. Times are microseconds since 1970. The row without a name is about the table: its version is that of the schema, its label names the table, its fence is the largest of all rows that were dropped.';
INSERT IGNORE INTO $table (name, version, fence, label)
SELECT '', 1, 0, MD5(CONCAT(RAND(), UUID(), SYSDATE(6)))
FROM (SELECT COUNT(*) AS rows_there FROM $table) AS here WHERE here.rows_there = 0
