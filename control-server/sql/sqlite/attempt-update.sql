-- Writes what became of an attempt. 1 row where it is known.
UPDATE attempts SET state = :state, incarnation = :incarnation, lease_ms = :leaseMs, granted_at_ms = :grantedAtMs,
  lost_at_ms = :lostAtMs, finished_at_ms = :finishedAtMs, outcome_sha256 = :outcomeSha256, error = :error
WHERE command_id = :commandId AND number = :number
