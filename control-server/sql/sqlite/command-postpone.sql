-- A due command about which nothing could be decided must not keep its place at the head of the queue. :commandId, :dueAtMs.
UPDATE commands SET due_at_ms = :dueAtMs WHERE command_id = :commandId AND finished_at_ms IS NULL
