/** The named places where `--crash-at` and `--random-failures` may kill the agent: every step of an attempt, both sides. */
export const CRASH_POINTS = {
  'register.before-send': 'register: the nonce is in the journal, nothing sent',
  'register.after-answer': 'register: answered, the incarnation not in the journal',
  'sync.before-send': 'sync: the request is made, nothing sent',
  'sync.after-answer': 'sync: answered, nothing of the answer in the journal',
  'accept.before-commit': 'S1 offer: ACCEPTED is written, not committed',
  'accept.after-commit': 'S1 offer: ACCEPTED is committed, the server does not know',
  'grant.received': 'S2 grant: the server has granted, STARTED is not written',
  'start.before-commit': 'S3 start: STARTED is written, not committed',
  'start.after-commit': 'S3 start: STARTED is committed, the effect has not begun',
  'effect.begun': 'S4 effect: begun, not over',
  'container.taken': 'S4 effect, RUN_AGENT: one of the pool has the name of the attempt, it is not in the journal',
  'container.created': 'S4 effect, RUN_AGENT: the container is made, it has no input and is not in the journal',
  'container.before-commit': 'S4 effect, RUN_AGENT: the id of the container is written, not committed',
  'container.after-commit': 'S4 effect, RUN_AGENT: the id of the container is committed, it has not been started',
  'container.started': 'S4 effect, RUN_AGENT: the container has been started',
  'container.delivered': 'S4 effect, RUN_AGENT: the prompt is on its way to a container of the pool',
  'container.exited': 'S4 effect, RUN_AGENT: the container has ended, nothing of it has been read',
  'artifacts.half-stored': 'S4 effect, RUN_AGENT: the first of its files is spooled, the list of them is not written',
  'artifacts.stored': 'S4 effect, RUN_AGENT: all of its files are spooled, no outcome written',
  'effect.done': 'S4 effect: over, no outcome written',
  'finish.before-commit': 'S5 end: FINISHED and the outcome are written, not committed',
  'finish.after-commit': 'S5 end: FINISHED is committed, the server does not know',
  'ack.before-commit': 'S6 ack: the server has the outcome, ACKED is written, not committed',
  'ack.after-commit': 'S6 ack: ACKED is committed',
} as const satisfies Record<string, string>

export type CrashPoint = keyof typeof CRASH_POINTS
export const CRASH_POINT_NAMES = Object.keys(CRASH_POINTS) as CrashPoint[]
