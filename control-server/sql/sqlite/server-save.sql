-- Begins an epoch or ends its recovery. 1 row.
INSERT INTO server_state (id, epoch, recovering) VALUES (1, :epoch, :recovering)
ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, recovering = excluded.recovering
