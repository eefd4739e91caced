-- What a client of the load does: an application that renews some session, not knowing whether it is due.
\set n random(1, 1000000)
UPDATE public.mcp_sessions SET expires_at = now() + interval '1 day' WHERE session_id = 'session-' || :n::text;
