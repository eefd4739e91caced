-- Optional, and not needed with mcp-cleanupd: the same two jobs under pg_cron, inside the database.
-- Needs pg_cron in shared_preload_libraries, cron.database_name set to this database, and a superuser:
--     psql "$OWNER_URL" -v ON_ERROR_STOP=1 -f migrations/neon/20260513020000_add_session_cleanup_cron.sql
-- It can be run again at any time. Do not leave these jobs active next to mcp-cleanupd: both would delete.

CREATE EXTENSION IF NOT EXISTS pg_cron;

SELECT cron.unschedule(jobid) FROM cron.job
 WHERE jobname IN ('mcp-cleanup-transient-sessions', 'mcp-cleanup-dormant-sessions');

-- Abandoned sign-ins, every 5 minutes.
SELECT cron.schedule(
    'mcp-cleanup-transient-sessions', '*/5 * * * *',
    $$DELETE FROM public.mcp_sessions WHERE expires_at < now() AND active IS NOT TRUE$$);

-- Active sessions that nothing has touched for 30 days, at midnight UTC.
SELECT cron.schedule(
    'mcp-cleanup-dormant-sessions', '0 0 * * *',
    $$DELETE FROM public.mcp_sessions WHERE active = true AND updated_at < now() - interval '720 hours'$$);
