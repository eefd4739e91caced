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
    next_attempt_at TIMESTAMPTZ,
    error_sqlstate TEXT,
    error_message TEXT
) WITH (fillfactor = 80);

-- A failed run that is to be tried again, by this process or the next one: for a table that was made without it.
ALTER TABLE mcp_cleanup.runs ADD COLUMN IF NOT EXISTS next_attempt_at TIMESTAMPTZ;

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
