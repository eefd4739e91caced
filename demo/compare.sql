-- How many sessions differ from what the two plain statements leave.
DELETE FROM before_cleanup WHERE expires_at < now() AND active IS NOT TRUE;
DELETE FROM before_cleanup WHERE active = true AND updated_at < now() - interval '30 days';
SELECT count(*) FROM public.mcp_sessions AS ours FULL JOIN before_cleanup AS theirs USING (id)
 WHERE ours.id IS NULL OR theirs.id IS NULL;
