import { type CodedAdapter, definitionOf } from '@agent-executor/protocol'
import t from 'tap'
import { resumed } from '../../src/lifecycle/resume.ts'
import { completed, failed, running } from './builders.ts'

const engine = (name: CodedAdapter) => definitionOf(name, 1, { adapter: name })
const ofRun = (command: ReturnType<typeof completed>, result: unknown, payload: object = { engine: 'codex' }) => ({
  ...command,
  type: 'RUN_AGENT' as const,
  spec: { ...command.spec, payload: payload as never },
  result: result as never,
})

t.test('a run goes on with what another one of its engine has left, however that ended', async (t) => {
  for (const command of [completed('c'), failed('c')])
    t.same(resumed(engine('codex'), ofRun(command, { sessionId: 'thread_1-a' })), {
      ok: true,
      resume: { commandId: 'c', sessionId: 'thread_1-a' },
    })
})

t.test('everything else is refused with what is wrong with it', async (t) => {
  const rows: [Parameters<typeof resumed>[1], RegExp][] = [
    [undefined, /no command of RUN_AGENT/],
    [completed('c'), /no command of RUN_AGENT/],
    [ofRun(running('c'), { sessionId: 's' }), /not over/],
    [ofRun(completed('c'), { sessionId: 's' }, { engine: 'gemini' }), /another engine, not of codex/],
    [ofRun(completed('c'), { sessionId: 's' }, null as never), /another engine/],
    [ofRun(completed('c'), null), /no conversation/],
    [ofRun(completed('c'), { sessionId: 7 }), /no conversation/],
    ...['', '-x', '../a', 'a b', 'a\n', 'x'.repeat(201)].map((sessionId): [Parameters<typeof resumed>[1], RegExp] => [
      ofRun(completed('c'), { sessionId }),
      /no conversation/,
    ]),
  ]
  for (const [command, message] of rows)
    t.match(resumed(engine('codex'), command), { ok: false, code: 'NOT_RESUMABLE', message })
  t.match(resumed(engine('shell'), ofRun(completed('c'), { sessionId: 's' }, { engine: 'shell' })), {
    ...{ ok: false, code: 'INVALID_REQUEST', message: /has no resume/ },
  })
})
