// Who may import whom. Each row has its reason; the first row whose folder holds a file is the one that counts for it.
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { filesBelow, readText } from '../src/documents.ts'

type Rule = {
  from: string
  /** What may be imported: prefixes of paths of this repository, and names of packages. */
  may: readonly string[]
  /** What may be imported for its types alone. */
  types?: readonly string[]
  /** Refused though `may` would allow it. */
  never?: RegExp
  why: string
}

const NODE = 'node:'
const PROTOCOL = '@agent-executor/protocol'
const RUNTIME = '@agent-executor/runtime'
const ENGINES = '@agent-executor/engines'

const PEERS = [
  '@agent-executor/bench-liteque',
  'better-sqlite3',
  'bullmq',
  'graphile-worker',
  'ioredis',
  'pg',
  'pg-boss',
  'plainjob',
]

const RULES: readonly Rule[] = [
  {
    from: 'protocol/src',
    may: ['protocol/src', 'typebox'],
    why: 'the wire is what every client shares: shapes and words, no behaviour, nothing to drag along',
  },
  {
    from: 'runtime/src',
    may: ['runtime/src', NODE, PROTOCOL, 'better-sqlite3', 'pino'],
    why: 'what both processes stand on knows neither of them',
  },
  {
    from: 'engines/src',
    may: ['engines/src', PROTOCOL],
    never: /^node:/,
    why: 'how an engine is called and read is text in and text out, so that a fifth one is a file',
  },
  {
    from: 'gateway/src/wire',
    may: ['gateway/src/wire'],
    why: 'what a format says is read without network, clocks and money',
  },
  {
    from: 'gateway/src/allowance.ts',
    may: ['gateway/src/wire'],
    types: ['gateway/src/prices.ts'],
    why: 'how much a call may use is decided without the books and the network',
  },
  {
    from: 'gateway/src/ledger.ts',
    may: ['gateway/src/allowance.ts', RUNTIME, 'node:url'],
    types: ['gateway/src/wire', 'gateway/src/prices.ts'],
    why: 'the books keep what they are told, and see no request',
  },
  {
    from: 'gateway/src/control',
    may: ['gateway/src', PROTOCOL, 'fastify', 'node:crypto', 'node:http'],
    why: 'what an agent may ask has the words of the wire; it touches no provider',
  },
  {
    from: 'gateway/src',
    may: ['gateway/src', RUNTIME, NODE, 'undici', '@pydantic/genai-prices', 'eventsource-parser'],
    never: /control-server|agent\/src|protocol/,
    why: 'it holds the keys: another domain of trust, which knows of attempts no more than their names',
  },
  {
    from: 'control-server/src/lifecycle',
    may: ['control-server/src/lifecycle', PROTOCOL],
    never: /^node:|better-sqlite3|fastify/,
    why: 'decisions are pure, so that a simulation can drive them',
  },
  {
    from: 'control-server/src/profiles',
    may: ['control-server/src/profiles', PROTOCOL],
    never: /^node:|better-sqlite3|fastify|smol-toml|jinja/,
    why: 'what a profile comes to is decided without files, threads and databases',
  },
  {
    from: 'control-server/src/templates',
    may: ['control-server/src/templates', '@huggingface/jinja', 'node:child_process', 'node:url', 'node:vm'],
    why: 'templates are read and rendered in a process that knows nothing of the server',
  },
  {
    from: 'control-server/src/documents',
    may: [
      ...['control-server/src/documents', 'control-server/src/profiles', 'control-server/src/validation'],
      ...[PROTOCOL, RUNTIME, 'smol-toml', 'node:fs/promises', 'node:path'],
    ],
    types: ['control-server/src/store/documents.ts', 'control-server/src/templates/renderer.ts', 'ajv'],
    never: /sqlite|fastify|jinja/,
    why: 'what operators write is read and checked here, whether it came over HTTP or from a file',
  },
  {
    from: 'control-server/src/validation',
    may: ['control-server/src/validation', 'ajv', 'ajv-formats'],
    why: 'one strictness and one wording for whatever has a schema',
  },
  {
    from: 'control-server/src/store',
    may: [
      'control-server/src/store',
      'control-server/src/lifecycle',
      'control-server/src/profiles/document.ts',
      PROTOCOL,
      RUNTIME,
      'node:fs',
      'node:path',
      'node:url',
    ],
    types: ['better-sqlite3'],
    why: 'the store keeps what it is told; it listens to nobody and decides nothing',
  },
  {
    from: 'control-server/src/blobs',
    may: ['control-server/src/blobs', 'control-server/src/store/store.ts', NODE],
    types: ['control-server/src/store/files.ts'],
    never: /sqlite|fastify|lifecycle/,
    why: 'contents on the disk know the rows that vouch for them, and nobody who wants them',
  },
  {
    from: 'control-server/src/http',
    may: [
      ...['control-server/src/http', 'control-server/src/lifecycle', 'control-server/src/store/store.ts'],
      ...['control-server/src/profiles', 'control-server/src/documents', 'control-server/src/validation'],
      ...[PROTOCOL, RUNTIME, 'fastify', '@fastify/type-provider-typebox', 'secure-json-parse'],
      ...['node:crypto', 'node:http', 'node:net', 'node:stream', 'node:timers/promises'],
    ],
    types: [
      'control-server/src/wakeups.ts',
      'control-server/src/log-followers.ts',
      'control-server/src/blobs/blobs.ts',
      'control-server/src/store/documents.ts',
      'control-server/src/store/files.ts',
      'control-server/src/store/logs.ts',
      'control-server/src/store/prices.ts',
      'control-server/src/store/usage.ts',
      'control-server/src/metrics.ts',
      'control-server/src/templates/renderer.ts',
    ],
    never: /sqlite/,
    why: 'routes speak to the contract of the store, so that another database needs no other routes',
  },
  {
    from: 'control-server/src/maintenance',
    may: [
      'control-server/src/maintenance',
      'control-server/src/lifecycle',
      'control-server/src/store/store.ts',
      PROTOCOL,
      'node:timers',
    ],
    never: /sqlite|fastify/,
    why: 'timers ask the lifecycle and call the contract of the store, as routes do',
  },
  {
    from: 'control-server/src/wakeups.ts',
    may: ['control-server/src/lifecycle', PROTOCOL],
    why: 'a hint about changes needs to know changes and nothing else',
  },
  {
    from: 'control-server/src/metrics.ts',
    may: [PROTOCOL, 'prom-client'],
    types: ['control-server/src/lifecycle'],
    why: 'what is counted is told to it: it asks nobody and decides nothing',
  },
  {
    from: 'control-server/src/log-followers.ts',
    may: [],
    why: 'a bell for each log knows nothing of what is in it',
  },
  {
    from: 'control-server/src/config.ts',
    may: ['control-server/src/crash-points.ts', RUNTIME],
    why: 'settings are a table that documents and tests read without starting anything',
  },
  {
    from: 'control-server/src/crash-points.ts',
    may: [],
    types: ['control-server/src/store/store.ts'],
    why: 'names that documents and tests read without starting anything',
  },
  {
    from: 'control-server/src/app.ts',
    may: [
      'control-server/src/http',
      PROTOCOL,
      RUNTIME,
      'fastify',
      '@fastify/type-provider-typebox',
      'node:crypto',
      'node:net',
    ],
    never: /sqlite/,
    why: 'the application is built on a store that somebody else has opened',
  },
  {
    from: 'control-server/src/server.ts',
    may: ['control-server/src', PROTOCOL, RUNTIME, NODE, 'uuidv7'],
    why: 'the composition root: the one place that knows all parts',
  },
  {
    from: 'agent/src/decide',
    may: ['agent/src/decide', PROTOCOL],
    types: ['agent/src/journal/journal.ts', 'agent/src/executors/executor.ts'],
    never: /^node:|better-sqlite3|undici/,
    why: 'decisions are pure, so that a table of cases can test them',
  },
  {
    from: 'agent/src/journal',
    may: ['agent/src/journal', PROTOCOL, RUNTIME, 'node:url', 'better-sqlite3'],
    types: ['agent/src/crash-points.ts'],
    never: /client|executors/,
    why: 'the journal writes what it is told and knows neither server nor work',
  },
  {
    from: 'agent/src/client',
    may: ['agent/src/client', PROTOCOL, RUNTIME, 'undici'],
    never: /journal|executors/,
    why: 'the client turns calls into answers; what an answer means is decided elsewhere',
  },
  {
    from: 'agent/src/heartbeat',
    may: ['agent/src/heartbeat', 'agent/src/decide', '@agent-executor/runtime/lease-clock', NODE],
    types: [PROTOCOL, RUNTIME],
    never: /journal|executors/,
    why: 'the heartbeat renews a lease and moves nothing, and its thread loads next to nothing',
  },
  {
    from: 'agent/src/docker/docker.ts',
    may: ['agent/src/docker', 'node:fs/promises', 'node:stream', 'dockerode'],
    why: 'the one file that speaks to Docker',
  },
  {
    from: 'agent/src/docker',
    may: ['agent/src/docker', PROTOCOL, 'node:util'],
    types: ['dockerode'],
    why: 'what a container is made with, and whether it may be, is decided without Docker',
  },
  {
    from: 'agent/src/doctor.ts',
    may: [PROTOCOL, 'node:fs', 'node:fs/promises', 'node:path'],
    types: ['agent/src/docker/docker.ts'],
    why: 'it looks, through what it is given, and changes nothing',
  },
  {
    from: 'agent/src/gateway/usage-uploader.ts',
    may: ['agent/src/upload-loop.ts', PROTOCOL],
    types: ['agent/src/gateway'],
    why: 'it is given the books and the server, and decides nothing',
  },
  {
    from: 'agent/src/gateway',
    may: ['agent/src/gateway', PROTOCOL, 'undici', 'node:child_process', 'node:fs', 'node:path'],
    never: /journal|executors|docker|agent\/src\/client|@agent-executor\/gateway/,
    why: 'another domain of trust: it is spoken to through its socket, and nothing of it is loaded into this process',
  },
  {
    from: 'agent/src/upload-loop.ts',
    may: ['agent/src/decide'],
    why: 'when to send again is the same, whatever is sent',
  },
  {
    from: 'agent/src/files/uploader.ts',
    may: ['agent/src/decide', 'agent/src/upload-loop.ts', PROTOCOL],
    types: ['agent/src/files', 'agent/src/executors/executor.ts'],
    why: 'it is given the spools and the client, and decides nothing',
  },
  {
    from: 'agent/src/files',
    may: ['agent/src/files', 'agent/src/decide', PROTOCOL, NODE, 'tar-stream'],
    types: ['agent/src/crash-points.ts'],
    never: /journal|client|executors|docker/,
    why: 'files on their way over the disk of the agent; tar-stream reads an archive as it comes and unpacks nothing',
  },
  {
    from: 'agent/src/logs/uploader.ts',
    may: ['agent/src/decide', 'agent/src/upload-loop.ts', PROTOCOL, 'node:crypto'],
    types: ['agent/src/logs', 'agent/src/executors/executor.ts'],
    why: 'it is given the spools and the client, and decides nothing',
  },
  {
    from: 'agent/src/logs',
    may: ['agent/src/logs', PROTOCOL, 'node:fs', 'node:path', 'node:zlib'],
    never: /journal|client|executors|docker/,
    why: 'bytes on their way to the disk, whoever wrote them and whoever wants them',
  },
  {
    from: 'agent/src/executors/run-agent/run-agent.ts',
    may: [
      ...['agent/src/executors', 'agent/src/docker', 'agent/src/files/collect.ts', 'agent/src/gateway/client.ts'],
      ...[PROTOCOL, ENGINES, 'node:stream', 'node:timers/promises'],
    ],
    types: ['agent/src/crash-points.ts', 'agent/src/files', 'agent/src/logs/spools.ts'],
    never: /journal|agent\/src\/client|dockerode/,
    why: 'an executor has one effect and no say in what becomes of it',
  },
  {
    from: 'agent/src/executors/run-agent/pool.ts',
    may: [
      ...['agent/src/executors/run-agent', 'agent/src/docker', PROTOCOL],
      ...['node:crypto', 'node:timers/promises'],
    ],
    never: /journal|client|dockerode/,
    why: 'containers that wait belong to nobody: the pool knows Docker and no attempt',
  },
  {
    from: 'agent/src/executors/run-agent/engines.ts',
    may: ['agent/src/executors/run-agent', 'agent/src/docker', PROTOCOL, ENGINES, 'node:crypto'],
    never: /journal|client|dockerode/,
    why: 'what is offered is what Docker and the images say: it knows no attempt',
  },
  {
    from: 'agent/src/executors/run-agent/outputs.ts',
    may: [
      ...['agent/src/executors/run-agent', 'agent/src/docker', PROTOCOL],
      ...['node:stream', 'node:timers/promises'],
    ],
    types: ['agent/src/logs/spools.ts'],
    why: 'what is read of a container, by whom and how often, whatever follows from it',
  },
  {
    from: 'agent/src/executors/run-agent/dry-run.ts',
    may: ['agent/src/executors', 'agent/src/docker', PROTOCOL, 'node:timers/promises'],
    why: 'it asks Docker for an image, and for nothing else',
  },
  {
    from: 'agent/src/executors/run-agent/gateway-session.ts',
    may: ['agent/src/executors/run-agent', 'agent/src/gateway/client.ts', PROTOCOL],
    why: 'the gateway is given to it; what it has to know are the two ways in which that can fail',
  },
  {
    from: 'agent/src/executors/run-agent/prepare.ts',
    may: ['agent/src/executors/run-agent', 'agent/src/docker', PROTOCOL, 'node:util'],
    types: ['agent/src/executors/executor.ts'],
    why: 'what a container is made with, and what is refused, is decided without Docker',
  },
  { from: 'agent/src/executors/run-agent/session-id.ts', may: ['node:crypto'], why: 'a hash has no parts' },
  {
    from: 'agent/src/executors/run-agent/output.ts',
    may: ['agent/src/executors/run-agent', 'agent/src/docker', 'agent/src/logs/redact.ts', PROTOCOL, 'node:stream'],
    why: 'bytes on their way into memory of a known size',
  },
  {
    from: 'agent/src/executors/run-agent',
    may: [
      ...['agent/src/executors/run-agent', 'agent/src/docker/create-options.ts', 'agent/src/docker/tar.ts'],
      ...['agent/src/decide/glob.ts', PROTOCOL, ENGINES],
    ],
    types: [
      ...['agent/src/docker/docker.ts', 'agent/src/executors/executor.ts', 'agent/src/gateway/client.ts'],
      ...['agent/src/files/inputs.ts', 'agent/src/files/spools.ts'],
    ],
    never: /^node:/,
    why: 'what comes next, and what an end means, is decided without Docker, clocks and streams',
  },
  {
    from: 'agent/src/executors',
    may: ['agent/src/executors', PROTOCOL, 'undici', NODE],
    types: [RUNTIME],
    never: /journal|client/,
    why: 'an executor has one effect and no say in what becomes of it',
  },
  {
    from: 'agent/src/run.ts',
    may: [PROTOCOL, RUNTIME],
    types: ['agent/src/executors/executor.ts'],
    why: 'one attempt, from start to outcome, whatever its type',
  },
  { from: 'agent/src/trigger.ts', may: [], why: 'a bell has no parts' },
  { from: 'agent/src/crash-points.ts', may: [], why: 'names that documents and tests read without starting anything' },
  {
    from: 'agent/src/config.ts',
    may: ['agent/src/crash-points.ts', RUNTIME],
    why: 'settings are a table that documents and tests read without starting anything',
  },
  {
    from: 'agent/src/session.ts',
    may: ['agent/src/decide', 'agent/src/run.ts', PROTOCOL, RUNTIME],
    types: ['agent/src/journal', 'agent/src/crash-points.ts'],
    never: /^node:|client|heartbeat|executors/,
    why: 'what is said and done is decided without network, timers and effects, so that a simulation can drive it',
  },
  {
    from: 'agent/src/agent.ts',
    may: [
      'agent/src/session.ts',
      'agent/src/decide',
      'agent/src/client',
      'agent/src/run.ts',
      'agent/src/trigger.ts',
      PROTOCOL,
      RUNTIME,
      'node:timers',
    ],
    types: ['agent/src/journal', 'agent/src/heartbeat', 'agent/src/executors', 'agent/src/crash-points.ts'],
    why: 'the loops are given their journal, heartbeat and executors, so that a test can give others',
  },
  {
    from: 'agent/src/main.ts',
    may: ['agent/src', PROTOCOL, RUNTIME, NODE, 'uuidv7'],
    why: 'the composition root: the one place that knows all parts',
  },
  {
    from: 'bench/src/figures',
    may: ['bench/src/figures', NODE],
    why: 'built and tested with the rest, where no peer is installed',
  },
  {
    from: 'bench/src/peers',
    may: ['bench/src', NODE, ...PEERS],
    why: 'a peer is known in its own file alone, and loaded in its own processes',
  },
  {
    from: 'bench/src',
    may: ['bench/src', NODE, 'better-sqlite3'],
    why: 'a black box: it starts our processes and imports none of our code',
  },
]

type Import = { file: string; target: string; typeOnly: boolean }

/** Every import and re-export of a file; relative ones as paths of the repository. */
const importsOf = (file: string, source: string): Import[] => {
  const code = source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
  const statements = code.matchAll(
    /^\s*(?:import|export)\s+(type\s+)?([^'";]*?\sfrom\s+)?'([^']+)'|\bimport\('([^']+)'\)/gm,
  )
  return [...statements].map(([, type, names, from, dynamic]) => {
    const target = from ?? dynamic ?? ''
    const named = /^\{([\s\S]*)\}\s+from\s+$/.exec(names ?? '')?.[1]?.split(',') ?? []
    const given = named.map((name) => name.trim()).filter(Boolean)
    return {
      file,
      target: target.startsWith('.') ? normalize(join(dirname(file), target)) : target,
      typeOnly: type !== undefined || (given.length > 0 && given.every((name) => name.startsWith('type '))),
    }
  })
}

const allowed = (target: string, by: readonly string[]): boolean =>
  by.some((name) => target === name || target.startsWith(name.endsWith(':') ? name : `${name}/`))

/** One sentence for each import that its row does not allow, with the row's reason. */
const violations = (files: Readonly<Record<string, string>>): string[] =>
  Object.entries(files).flatMap(([file, source]) => {
    const rule = RULES.find(({ from }) => file === from || file.startsWith(`${from}/`))
    if (rule === undefined) return [`${file} has no row in the table`]
    return importsOf(file, source).flatMap(({ target, typeOnly }) => {
      const may = [...rule.may, ...(typeOnly ? (rule.types ?? []) : [])]
      const refused =
        !allowed(target, may) || (rule.never?.test(target) === true && !(typeOnly && allowed(target, rule.types ?? [])))
      return refused ? [`${file} may not import ${target}: ${rule.why}`] : []
    })
  })

for (const workspace of ['protocol', 'runtime', 'engines', 'gateway', 'control-server', 'agent', 'bench'])
  t.test(`${workspace} imports only what the table allows`, async (t) => {
    const files = filesBelow(`${workspace}/src`, '.ts')
    t.ok(files.length > 0)
    t.same(violations(Object.fromEntries(files.map((file) => [file, readText(file)]))), [])
  })

t.test('every row of the table is about something that exists', async (t) => {
  const files = ['protocol', 'runtime', 'engines', 'gateway', 'control-server', 'agent', 'bench'].flatMap((workspace) =>
    filesBelow(`${workspace}/src`, '.ts'),
  )
  for (const { from } of RULES)
    t.ok(
      files.some((file) => file === from || file.startsWith(`${from}/`)),
      from,
    )
})

t.test('a planted violation is reported with its reason', async (t) => {
  const planted = (file: string, source: string) => violations({ [file]: source })
  t.same(planted('control-server/src/lifecycle/planted.ts', "import { readFileSync } from 'node:fs'"), [
    'control-server/src/lifecycle/planted.ts may not import node:fs: decisions are pure, so that a simulation can drive them',
  ])
  t.match(
    planted(
      'control-server/src/http/routes/planted.ts',
      "import { openSqliteStore } from '../../store/sqlite-store.ts'",
    ),
    [/may not import control-server\/src\/store\/sqlite-store\.ts: routes speak to the contract/],
  )
  t.match(planted('agent/src/executors/planted.ts', "const journal = await import('../journal/journal.ts')"), [
    /may not import agent\/src\/journal/,
  ])
  t.match(planted('agent/src/planted.ts', ''), [/has no row/])
  t.match(planted('protocol/src/planted.ts', "export * from 'undici'"), [/may not import undici/])
  t.match(planted('protocol/src/planted.ts', "import 'undici'"), [/may not import undici/])
})

t.test('a type may cross where the table says so, and a value may not', async (t) => {
  const cross = (statement: string) =>
    violations({ 'agent/src/decide/crossing.ts': `${statement} from '../journal/journal.ts'` })
  t.same(cross('import type { Entry }'), [])
  t.same(cross('import { type Entry, type Phase }'), [])
  t.equal(cross('import { openJournal, type Entry }').length, 1)
})
