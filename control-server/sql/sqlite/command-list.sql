-- Commands before :cursor (an id, null = from the newest), newest first, at most :limit. Every other parameter is a
-- filter and null where not asked for; :statuses and :types are JSON arrays, :text is searched in id, payload and metadata.
SELECT * FROM commands
WHERE (:cursor IS NULL OR command_id < :cursor)
  AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
  AND (:types IS NULL OR type IN (SELECT value FROM json_each(:types)))
  AND (:agentId IS NULL OR agent_id = :agentId)
  AND (:label IS NULL OR EXISTS (SELECT 1 FROM json_each(labels) WHERE value = :label))
  AND (:createdFromMs IS NULL OR created_at_ms >= :createdFromMs)
  AND (:createdToMs IS NULL OR created_at_ms < :createdToMs)
  AND (:text IS NULL OR instr(lower(json_extract(spec, '$.payload')), lower(:text)) > 0
    OR instr(lower(metadata), lower(:text)) > 0 OR instr(lower(command_id), lower(:text)) > 0)
ORDER BY command_id DESC LIMIT :limit
