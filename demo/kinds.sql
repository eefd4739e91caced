SELECT server_name AS "sessions", count(*) AS "number" FROM public.mcp_sessions GROUP BY 1 ORDER BY 2 DESC;
