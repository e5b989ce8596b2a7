-- What a session of ours needs, whatever the server has as default. The comments are read by
-- the one kind of server and by the other. First of all ends what init_connect may have begun.
ROLLBACK AND NO CHAIN NO RELEASE;
SET SESSION autocommit = 1, completion_type = 0, sql_mode = 'STRICT_ALL_TABLES',
    innodb_lock_wait_timeout = 1, lock_wait_timeout = $seconds, wait_timeout = 2147483,
    sql_safe_updates = 0, sql_auto_is_null = 0, sql_big_selects = 1,
    sql_select_limit = 18446744073709551615, timestamp = DEFAULT, time_zone = '+00:00'
    /*M! , max_statement_time = $seconds */ /*!80000 , max_execution_time = 0 */;
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET SESSION TRANSACTION READ WRITE;
SET NAMES utf8mb4;
SELECT $question AS question
