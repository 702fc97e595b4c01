-- Writes a new command: waiting, nothing tried. 1 row; fails where the id exists.
INSERT INTO commands (command_id, type, priority, lane, labels, metadata, spec, secrets, status, phase, ready, available_at_ms,
  due_at_ms, attempt, granted_attempt, granted_count, crash_count, result_truncated, created_at_ms)
VALUES (:commandId, :type, :priority, :lane, :labels, :metadata, :spec, :secrets, 'PENDING', 'WAITING', :ready, :availableAtMs,
  :dueAtMs, 0, 0, 0, 0, 0, :createdAtMs)
