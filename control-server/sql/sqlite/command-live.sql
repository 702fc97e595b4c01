-- Commands whose newest attempt is offered, running or lost.
SELECT * FROM commands WHERE phase IN ('OFFERED', 'RUNNING', 'LOST')
