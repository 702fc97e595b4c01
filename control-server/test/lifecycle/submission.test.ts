import {
  type Capability,
  type CodedAdapter,
  capabilitiesOf,
  definitionOf,
  type Submission,
} from '@agent-executor/protocol'
import t from 'tap'
import { commandOf, commandOfOffer, submissionProblems } from '../../src/lifecycle/submission.ts'
import { attemptTimeoutMs, dueAtMs, isReady } from '../../src/lifecycle/transition.ts'
import { heldAccepted, policy, withOffer } from './builders.ts'

const NOW = Date.parse('2026-11-21T14:00:00Z')
const iso = (ms: number) => new Date(NOW + ms).toISOString()
const delay = (change: Partial<Submission> = {}): Submission =>
  ({ type: 'DELAY', payload: { ms: 5000 }, ...change }) as Submission
const fetching = (payload: { url: string; headers?: Record<string, string>; timeoutMs?: number }): Submission => ({
  type: 'HTTP_GET_JSON',
  payload,
})
const MAXIMA = {
  ...{ runTimeoutMsMax: 86_400_000, runMemoryBytesMax: 2 ** 33, runCpusMax: 8, runPidsMax: 4096 },
  ...{ runWorkspaceBytesMax: 2 ** 32, runCostMicroUsdMax: 20_000_000 },
}
const engineOf = ({ type, payload }: Submission) => {
  const name = type === 'RUN_AGENT' ? payload.engine : undefined
  return name === undefined || name === 'nobody' ? null : definitionOf(name, 7, { adapter: name as CodedAdapter })
}
const problemsOf = (submission: Submission, maxima = MAXIMA) =>
  submissionProblems(submission, NOW, { maxima, engine: engineOf(submission) })
const pathsOf = (submission: Submission) => problemsOf(submission).map(({ path }) => path)

t.test('what was not said has a default', async (t) => {
  const command = commandOf(delay(), 'a', NOW)
  t.match(command, {
    ...{
      commandId: 'a',
      type: 'DELAY',
      status: 'PENDING',
      resultTruncated: false,
      priority: 0,
      availableAtMs: null,
      createdAtMs: NOW,
    },
    ...{ grantedCount: 0, crashCount: 0, cancel: null, error: null, startedAtMs: null, finishedAtMs: null },
  })
  t.same(command.attempts, [])
  t.same(command.spec, {
    payload: { ms: 5000 },
    labels: [],
    pinnedTo: null,
    timeoutMs: 65_000,
    totalTimeoutMs: null,
    expiresAtMs: null,
    notBeforeMs: null,
    retry: { maxAttempts: 1, backoff: { initialMs: 1000, maxMs: 60_000, factor: 2 }, retryOn: null },
    takeover: 'manual',
    lostAfterMs: null,
    metadata: {},
  })
  t.ok(isReady(command))
  t.equal(dueAtMs(command, policy), null)
})

t.test('the timeout without one is what the work takes by itself, and a minute', async (t) => {
  t.equal(commandOf(delay(), 'a', NOW).spec.timeoutMs, 65_000)
  t.equal(commandOf(fetching({ url: 'http://a.test/' }), 'a', NOW).spec.timeoutMs, 90_000)
  t.equal(commandOf(fetching({ url: 'http://a.test/', timeoutMs: 1 }), 'a', NOW).spec.timeoutMs, 60_001)
  t.equal(commandOf(delay({ timeoutMs: 1 }), 'a', NOW).spec.timeoutMs, 1)
})

t.test('what was said is kept as it was, falsy values too', async (t) => {
  const { spec, priority, availableAtMs } = commandOf(
    delay({
      ...{ priority: -7, labels: ['eu', 'big'], agentId: 'x', timeoutMs: 9, totalTimeoutMs: 10, lostAfterMs: 0 },
      ...{ expiresAt: iso(7000), notBefore: iso(3000), takeover: 'auto', metadata: { a: 0, b: false, c: '' } },
      retry: { maxAttempts: 3, backoff: { initialMs: 0 }, retryOn: [] },
    }),
    'a',
    NOW,
  )
  t.same(spec, {
    ...{
      payload: { ms: 5000 },
      labels: ['eu', 'big'],
      pinnedTo: 'x',
      timeoutMs: 9,
      totalTimeoutMs: 10,
      lostAfterMs: 0,
    },
    ...{ expiresAtMs: NOW + 7000, notBeforeMs: NOW + 3000, takeover: 'auto', metadata: { a: 0, b: false, c: '' } },
    retry: { maxAttempts: 3, backoff: { initialMs: 0, maxMs: 60_000, factor: 2 }, retryOn: [] },
  })
  t.same([priority, availableAtMs], [-7, NOW + 3000])
})

t.test('a notBefore that is over is as good as none', async (t) => {
  t.ok(isReady(commandOf(delay({ notBefore: iso(0) }), 'a', NOW)))
  t.ok(isReady(commandOf(delay({ notBefore: iso(-1) }), 'a', NOW)))
  t.notOk(isReady(commandOf(delay({ notBefore: iso(1) }), 'a', NOW)))
})

t.test('a submission is refused with the path of each thing that is wrong', async (t) => {
  t.same(pathsOf(delay()), [])
  t.same(pathsOf(delay({ expiresAt: iso(1), notBefore: iso(0) })), [])
  const auto = (maxAttempts?: number) => delay({ takeover: 'auto', ...(maxAttempts ? { retry: { maxAttempts } } : {}) })
  const backoff = (of: object) => delay({ retry: { maxAttempts: 2, backoff: of } })
  const refused: [string, Submission][] = [
    ['/expiresAt', delay({ expiresAt: '2026-13-45T99:00:00Z' })],
    ['/notBefore', delay({ notBefore: '2026-13-45T99:00:00Z' })],
    ['/expiresAt', delay({ expiresAt: iso(0) })],
    ['/expiresAt', delay({ expiresAt: iso(-1) })],
    ['/expiresAt', delay({ expiresAt: iso(5000), notBefore: iso(5000) })],
    ['/takeover', auto()],
    ['/takeover', auto(1)],
    ['/retry/backoff/maxMs', backoff({ initialMs: 5000, maxMs: 4999 })],
    ['/retry/backoff/maxMs', backoff({ initialMs: 60_001 })],
    ['/retry/backoff/maxMs', backoff({ maxMs: 999 })],
    ['/payload/url', fetching({ url: 'http://' })],
    ['/payload/url', fetching({ url: 'ftp://a.test/' })],
    ['/payload/url', fetching({ url: 'a.test' })],
    ['/payload/url', fetching({ url: 'http://user@a.test/' })],
    ['/payload/url', fetching({ url: 'https://:secret@a.test/' })],
    ['/payload/headers/Host', fetching({ url: 'http://a.test/', headers: { Host: 'b.test' } })],
    [
      '/payload/headers/transfer-ENCODING',
      fetching({ url: 'http://a.test/', headers: { 'transfer-ENCODING': 'chunked' } }),
    ],
    [
      '/payload/headers/Proxy-Authorization',
      fetching({ url: 'http://a.test/', headers: { 'Proxy-Authorization': 'x' } }),
    ],
  ]
  for (const [path, submission] of refused) t.same(pathsOf(submission), [path], JSON.stringify(submission))
  t.same(pathsOf(auto(2)), [])
  t.same(pathsOf(backoff({ initialMs: 5000, maxMs: 5000 })), [])
  t.same(pathsOf(backoff({})), [])
  t.same(
    pathsOf(
      fetching({ url: 'HTTPS://a.test:8443/x?y#z', headers: { accept: 'text/plain', authorization: 'Bearer x' } }),
    ),
    [],
  )
  t.same(
    pathsOf({ ...fetching({ url: 'ftp://a.test/', headers: { te: 'x' } }), takeover: 'auto', expiresAt: iso(0) }),
    ['/expiresAt', '/takeover', '/payload/url', '/payload/headers/te'],
  )
})

t.test('an attempt may take its timeout, and no longer than totalTimeoutMs leaves', async (t) => {
  const command = commandOf(delay({ timeoutMs: 60_000, totalTimeoutMs: 100_000 }), 'a', NOW)
  t.equal(attemptTimeoutMs(command, NOW), 60_000)
  t.equal(attemptTimeoutMs(command, NOW + 70_000), 30_000)
  t.equal(attemptTimeoutMs(command, NOW + 200_000), 1, 'never nothing: an attempt of 0 ms has no meaning')
  t.equal(attemptTimeoutMs(commandOf(delay({ timeoutMs: 60_000 }), 'a', NOW), NOW + 10 ** 9), 60_000)
})

t.test('a command that only a journal remembers has what its offer says, and is never retried by itself', async (t) => {
  const { offer } = withOffer(heldAccepted('a.4'), {
    payload: { ms: 3 },
    timeoutMs: 77,
    takeover: 'auto',
    createdAtMs: 5,
  })
  if (offer === undefined) return t.fail('no offer')
  t.match(commandOfOffer(offer), {
    ...{ commandId: 'a', type: 'DELAY', status: 'PENDING', createdAtMs: 5, availableAtMs: null },
    spec: { payload: { ms: 3 }, timeoutMs: 77, takeover: 'manual', retry: { maxAttempts: 1 } },
  })
})

const agent = (payload: object = {}, change: object = {}): Submission =>
  ({ type: 'RUN_AGENT', payload: { engine: 'shell', prompt: 'true', ...payload }, ...change }) as Submission
const file = (path: string, content: object = { content: '' }) => ({ path, ...content })

t.test('RUN_AGENT has a quarter of an hour where it does not say', async (t) => {
  t.equal(commandOf(agent(), 'a', NOW).spec.timeoutMs, 900_000)
  t.equal(commandOf(agent({}, { timeoutMs: 5 }), 'a', NOW).spec.timeoutMs, 5)
})

t.test('RUN_AGENT is never taken over: its container outlives its agent', async (t) => {
  t.same(pathsOf(agent({}, { takeover: 'auto', retry: { maxAttempts: 2 } })), ['/takeover'])
  t.same(pathsOf(agent({}, { takeover: 'manual', retry: { maxAttempts: 2 } })), [])
})

t.test('RUN_AGENT asks for no more than the server allows', async (t) => {
  const all = { memoryBytes: 2 ** 33, cpus: 8, pidsMax: 4096, workspaceBytes: 2 ** 32 }
  t.same(pathsOf(agent({ resources: all, idleTimeoutMs: 86_400_000 }, { timeoutMs: 86_400_000 })), [])
  for (const [name, value] of Object.entries(all))
    t.same(pathsOf(agent({ resources: { [name]: value + 1 } })), [`/payload/resources/${name}`])
  t.same(pathsOf(agent({}, { timeoutMs: 86_400_001 })), ['/timeoutMs'])
  t.same(pathsOf(agent({ idleTimeoutMs: 86_400_001 })), ['/payload/idleTimeoutMs'])
  t.equal(commandOf(agent(), 'a', NOW, undefined, { ...MAXIMA, runTimeoutMsMax: 1000 }).spec.timeoutMs, 1000)
})

t.test('files of RUN_AGENT stay below the workspace', async (t) => {
  for (const path of ['a', 'a/b', '.hidden', '..a', 'a..', 'a b', '-rf', 'ü/👍', `${'x'.repeat(255)}/y`])
    t.same(pathsOf(agent({ files: [file(path)] })), [], path)
  for (const path of [
    '/etc/passwd',
    '/',
    '..',
    '../a',
    'a/../b',
    'a/..',
    '.',
    './a',
    'a//b',
    'a/',
    'a\0b',
    'a\nb',
    '\x7f',
    'x'.repeat(256),
  ])
    t.same(pathsOf(agent({ files: [file(path)] })), ['/payload/files/0/path'], JSON.stringify(path))
  t.same(pathsOf(agent({ files: [file('a'), file('b'), file('a')] })), ['/payload/files/2/path'])
  t.same(pathsOf(agent({ files: [file('a/b/c'), file('a/b')] })), ['/payload/files/0/path'], 'a folder that is a file')
})

t.test('a file of RUN_AGENT has one content, and base64 is base64', async (t) => {
  t.same(pathsOf(agent({ files: [file('a', {}), file('b', { content: '', contentBase64: '' })] })), [
    '/payload/files/0',
    '/payload/files/1',
  ])
  for (const contentBase64 of ['', 'QQ==', 'QUI=', 'QUJD', '+/+/'])
    t.same(pathsOf(agent({ files: [file('a', { contentBase64 })] })), [], contentBase64)
  for (const contentBase64 of ['Q', 'QQ', 'QQ=', '====', 'Q===', 'QQ==QQ==', 'QU I=', '-_-_', 'QUI=\n'])
    t.same(pathsOf(agent({ files: [file('a', { contentBase64 })] })), ['/payload/files/0/contentBase64'], contentBase64)
})

t.test('NUL is refused where a shell or an environment would end at it', async (t) => {
  t.same(pathsOf(agent({ prompt: 'a\0b', env: { A: 'x', B: 'a\0b' } })), ['/payload/prompt', '/payload/env/B'])
  t.same(pathsOf(agent({ files: [file('a', { content: 'a\0b' })] })), [], 'a file may have it')
})

const definition = (name: CodedAdapter) => definitionOf(name, 7, { adapter: name })

t.test('an engine that does not exist is refused by its name', async (t) => {
  t.same(problemsOf(agent({ engine: 'nobody' })), [
    { path: '/payload/engine', message: 'names an engine that does not exist: nobody' },
  ])
})

t.test('what an engine cannot honour is refused by its field', async (t) => {
  const fields = { model: 'm', system: 's', tools: { allow: ['a'] }, limits: { tokens: 1 }, resume: 'a' }
  for (const [field, value] of Object.entries(fields)) {
    t.same(pathsOf(agent({ [field]: value })), [`/payload/${field}`], field)
    for (const engine of ['claude-code', 'codex', 'opencode', 'gemini'] as const)
      t.equal(
        pathsOf(agent({ engine, [field]: value })).length,
        capabilitiesOf(definition(engine))[field as Capability] ? 0 : 1,
      )
  }
  t.same(pathsOf(agent({ engine: 'codex', system: 'a\0b' })), ['/payload/system'])
  t.same(pathsOf(agent({ profile: 'p', engine: undefined, prompt: undefined, ...fields })), [
    ...['/payload/model', '/payload/system', '/payload/tools', '/payload/limits'],
  ])
})

t.test('a run may cost what the server allows, and that is what it may where nobody says', async (t) => {
  const codex = (payload: object = {}) => agent({ engine: 'codex', ...payload })
  const payloadOf = (submission: Submission, runCostMicroUsdMax = 20_000_000) =>
    commandOf(
      submission,
      'a',
      NOW,
      { run: null, resume: null, engine: engineOf(submission) },
      {
        ...MAXIMA,
        runCostMicroUsdMax,
      },
    ).spec.payload
  t.same(pathsOf(codex({ limits: { costMicroUsd: 20_000_000 } })), [])
  t.same(pathsOf(codex({ limits: { costMicroUsd: 20_000_001 } })), ['/payload/limits/costMicroUsd'])
  t.same(problemsOf(codex({ limits: { costMicroUsd: 2 ** 52 } }), { ...MAXIMA, runCostMicroUsdMax: 0 }), [])
  const own = { engine: 'codex', prompt: 'true', engineDefinition: definition('codex') }
  t.same(payloadOf(codex()), { ...own, limits: { costMicroUsd: 20_000_000 } })
  t.match(payloadOf(codex({ limits: { requests: 3 } })), { limits: { costMicroUsd: 20_000_000, requests: 3 } })
  t.match(payloadOf(codex({ limits: { costMicroUsd: 0 } })), { limits: { costMicroUsd: 0 } })
  t.same(payloadOf(codex(), 0), own)
  t.same(payloadOf(agent()), { engine: 'shell', prompt: 'true', engineDefinition: definition('shell') })
})

t.test('of a conversation that goes on an agent gets the id that its engine gave it', async (t) => {
  const resume = { commandId: 'b', sessionId: 's' }
  t.match(
    commandOf(agent({ engine: 'codex', resume: 'b' }), 'a', NOW, { engine: null, run: null, resume }).spec.payload,
    { resume },
  )
})
