-- What a session of ours needs, whatever the user, the database or the server has as default.
-- $1: the longest that a statement may take, in ms
SELECT pg_catalog.set_config(wanted.name, wanted.setting, false)
FROM (VALUES
    ('default_transaction_isolation', 'read committed'),
    ('default_transaction_deferrable', 'off'),
    ('statement_timeout', $1),
    ('transaction_timeout', '0'),
    -- One row that a transaction of somebody else keeps locked stops no other lock for longer.
    ('lock_timeout', '250ms'),
    ('idle_session_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'),
    ('client_min_messages', 'warning'),
    -- Every row is found by its name. A plan is made once for a session, perhaps while the
    -- table is small, and has to be a good one when it has grown.
    ('enable_seqscan', 'off'),
    ('plan_cache_mode', 'force_generic_plan'),
    ('jit', 'off'),
    -- A lease that was granted must outlive a crash of the server.
    ('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE pg_catalog.current_setting('synchronous_commit') END)
) AS wanted (name, setting)
JOIN pg_catalog.pg_settings AS known ON known.name = wanted.name
