-- Commands whose newest attempt is offered, running or lost.
SELECT * FROM commands WHERE phase = 'OFFERED' OR status = 'RUNNING'
