-- Installs the history of mcp-cleanupd: one row for each run of a job, which is the run's claim and its accounting too.
-- Run it as the owner of the database:
--     psql "$OWNER_URL" -v ON_ERROR_STOP=1 -f migrations/neon/20260513030000_install_mcp_cleanup_runs.sql
-- or  mcp-cleanupd migrate --role mcp_service_role
-- It can be run again at any time: what is there stays as it is.

CREATE SCHEMA IF NOT EXISTS mcp_cleanup;

-- A run's row is updated once for each of its batches: room in the page keeps those updates off the indexes.
CREATE TABLE IF NOT EXISTS mcp_cleanup.runs (
    run_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job TEXT NOT NULL,
    scheduled_at TIMESTAMPTZ NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('schedule', 'catch-up', 'once')),
    claimed_by TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    status TEXT NOT NULL
        CHECK (status IN ('running', 'succeeded', 'failed', 'timed_out', 'capped', 'canceled', 'abandoned')),
    started_at TIMESTAMPTZ NOT NULL,
    heartbeat_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    cutoff TIMESTAMPTZ NOT NULL,
    rows_deleted BIGINT NOT NULL DEFAULT 0,
    rows_skipped BIGINT NOT NULL DEFAULT 0,
    rows_refused BIGINT NOT NULL DEFAULT 0,
    batches INTEGER NOT NULL DEFAULT 0,
    session_schema TEXT,
    next_attempt_at TIMESTAMPTZ,
    error_sqlstate TEXT,
    error_message TEXT
) WITH (fillfactor = 80);

-- For a table that was made without them: the schema of the sessions table that the run trusts, and when a failed run is
-- to be tried again, by this process or the next one.
ALTER TABLE mcp_cleanup.runs ADD COLUMN IF NOT EXISTS session_schema TEXT;
ALTER TABLE mcp_cleanup.runs ADD COLUMN IF NOT EXISTS next_attempt_at TIMESTAMPTZ;

-- What no run can have is refused. Rows of before that have it get the nearest value that is not.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint
                    WHERE conrelid = 'mcp_cleanup.runs'::regclass AND conname = 'runs_times_check') THEN
        UPDATE mcp_cleanup.runs
           SET scheduled_at = least(greatest(scheduled_at, '1970-01-01 00:00:00+00'), '2999-12-31 00:00:00+00')
             , started_at = least(greatest(started_at, '1970-01-01 00:00:00+00'), '2999-12-31 00:00:00+00')
             , heartbeat_at = least(greatest(heartbeat_at, '1970-01-01 00:00:00+00'), '2999-12-31 00:00:00+00')
             , cutoff = least(greatest(cutoff, '1970-01-01 00:00:00+00'), '2999-12-31 00:00:00+00')
             , finished_at = CASE WHEN isfinite(finished_at) THEN finished_at END
             , next_attempt_at = CASE WHEN isfinite(next_attempt_at) THEN next_attempt_at END
         WHERE NOT (scheduled_at >= '1970-01-01 00:00:00+00' AND scheduled_at < '3000-01-01 00:00:00+00'
                    AND isfinite(started_at) AND isfinite(heartbeat_at) AND isfinite(cutoff)
                    AND isfinite(coalesce(finished_at, now())) AND isfinite(coalesce(next_attempt_at, now())));
        ALTER TABLE mcp_cleanup.runs ADD CONSTRAINT runs_times_check
            CHECK (scheduled_at >= '1970-01-01 00:00:00+00' AND scheduled_at < '3000-01-01 00:00:00+00'
                   AND isfinite(started_at) AND isfinite(heartbeat_at) AND isfinite(cutoff)
                   AND isfinite(finished_at) AND isfinite(next_attempt_at));
    END IF;
    IF NOT EXISTS (SELECT FROM pg_constraint
                    WHERE conrelid = 'mcp_cleanup.runs'::regclass AND conname = 'runs_counts_check') THEN
        UPDATE mcp_cleanup.runs
           SET attempts = greatest(attempts, 1), rows_deleted = greatest(rows_deleted, 0)
             , rows_skipped = greatest(rows_skipped, 0), rows_refused = greatest(rows_refused, 0)
             , batches = greatest(batches, 0)
         WHERE attempts < 1 OR rows_deleted < 0 OR rows_skipped < 0 OR rows_refused < 0 OR batches < 0;
        ALTER TABLE mcp_cleanup.runs ADD CONSTRAINT runs_counts_check
            CHECK (attempts > 0 AND rows_deleted >= 0 AND rows_skipped >= 0 AND rows_refused >= 0 AND batches >= 0);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_constraint
                    WHERE conrelid = 'mcp_cleanup.runs'::regclass AND conname = 'runs_session_schema_check') THEN
        ALTER TABLE mcp_cleanup.runs ADD CONSTRAINT runs_session_schema_check
            CHECK (session_schema IN ('active', 'status'));
    END IF;
END
$$;

-- Each fire time is answered at most once.
CREATE UNIQUE INDEX IF NOT EXISTS runs_job_scheduled_at_key ON mcp_cleanup.runs (job, scheduled_at);

-- At most one run of a job at a time.
CREATE UNIQUE INDEX IF NOT EXISTS runs_job_running_key ON mcp_cleanup.runs (job) WHERE status = 'running';

-- The last success, capped or not, is found at once, however many failures came after it.
CREATE INDEX IF NOT EXISTS runs_job_success_idx ON mcp_cleanup.runs (job, scheduled_at)
    WHERE status IN ('succeeded', 'capped');

-- ---------------------------------------------------------------------------------------------------------------------
-- For the role that mcp-cleanupd connects with. Replace its name where it has another one, then uncomment; or let
-- mcp-cleanupd migrate --role NAME  do it.
--
-- GRANT USAGE ON SCHEMA mcp_cleanup TO mcp_service_role;
-- GRANT SELECT, INSERT, UPDATE, DELETE ON mcp_cleanup.runs TO mcp_service_role;
