-- At most :limit commands before :before (an id), newest first: whether each passes the filters, and the bytes that
-- reading it costs. The caller stops when it has seen enough. Either :every or :pending and :running choose whom to look
-- at; every other parameter is a filter and null where not asked for. :statuses and :types are JSON arrays, :text is
-- searched in id, payload and metadata.
WITH candidates (id) AS (
  SELECT command_id FROM commands WHERE :every AND command_id < :before
  UNION ALL
  SELECT command_id FROM commands
  WHERE :pending AND finished_at_ms IS NULL AND status = 'PENDING' AND command_id < :before
  UNION ALL
  SELECT command_id FROM commands
  WHERE :running AND finished_at_ms IS NULL AND status = 'RUNNING' AND command_id < :before
  ORDER BY 1 DESC LIMIT :limit
)
SELECT command_id, octet_length(spec) + coalesce(octet_length(secrets), 0) + coalesce(octet_length(result), 0) AS bytes,
  (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
  AND (:types IS NULL OR type IN (SELECT value FROM json_each(:types)))
  AND (:agentId IS NULL OR agent_id = :agentId)
  AND (:label IS NULL OR EXISTS (SELECT 1 FROM json_each(labels) WHERE value = :label))
  AND (:createdFromMs IS NULL OR created_at_ms >= :createdFromMs)
  AND (:createdToMs IS NULL OR created_at_ms < :createdToMs)
  AND (:text IS NULL OR instr(lower(json_extract(spec, '$.payload')), lower(:text)) > 0
    OR instr(lower(metadata), lower(:text)) > 0 OR instr(lower(command_id), lower(:text)) > 0) AS found
FROM candidates JOIN commands ON command_id = id
ORDER BY id DESC
