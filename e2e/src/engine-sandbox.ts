/**
 * The real program of an engine in a container with the options of an attempt, its models a provider on loopback behind a
 * gateway. What an agent does around it is here as short as it can be.
 */
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createOptions, HOME, INPUT, WORKSPACE } from '@agent-executor/agent/docker/create-options'
import { type TarEntry, tarOf } from '@agent-executor/agent/docker/tar'
import { environmentFile, quoted } from '@agent-executor/agent/executors/run-agent/environment'
import { adapterOf, type EngineOutcome, type EngineRun } from '@agent-executor/engines'
import {
  type Call,
  createGateway,
  createPrices,
  type Limit,
  openLedger,
  type PriceRow,
  type Scope,
} from '@agent-executor/gateway'
import { startFakeProvider } from '@agent-executor/gateway/test/fixtures/fake-provider'
import type { EngineEvent } from '@agent-executor/protocol'
import { dockerode } from './docker.ts'
import { needs } from './processes.ts'
import { shippedEngine } from './shipped-engines.ts'

const PORT = 4000
const RUN_MS_MAX = 120_000
const FORWARDER = new URL('../../../gateway/sandbox/forwarder.mjs', import.meta.url)
export const KEY = 'key-of-the-provider-that-nobody-may-see'
const SCOPES: readonly Scope[] = [{ scope: 'command', id: 'c' }]

/** An input token is a micro-dollar, one of output ten; for every name that a test may ask for. */
const prices = (models: readonly string[]): PriceRow[] =>
  (['anthropic', 'openai', 'gemini'] as const).flatMap((provider) =>
    models.map((model) => ({ provider, model, effectiveFromMs: 0, input: 1, output: 10 })),
  )

const imageOf = (engine: string): string => shippedEngine(engine).image ?? ''

/** Options of a test that needs the image of an engine. */
export const needsEngine = async (engine: string): Promise<{ skip: string | false }> => {
  const isThere = await dockerode
    .getImage(imageOf(engine))
    .inspect()
    .then(
      () => true,
      () => false,
    )
  return needs(`Docker with the image ${imageOf(engine)}, see npm run images`, isThere)
}

type SandboxRun = Partial<Omit<EngineRun, 'folders' | 'gatewayUrl'>> & {
  prompt: string
  /** In the workspace before the start, by their paths. */
  files?: Readonly<Record<string, string>>
  /** What an earlier run has left as its session. */
  session?: Buffer
  /** Lines of a shell, in the workspace, before the engine and after it. */
  before?: string
  after?: string
}

type SandboxEnd = {
  exitCode: number
  lines: string[]
  stderr: string
  events: EngineEvent[]
  outcome: EngineOutcome | null
  /** Of /workspace in the end, by their paths. */
  files: Record<string, string>
  session: Buffer
  tookMs: number
}

export type EngineWorld = {
  provider: Awaited<ReturnType<typeof startFakeProvider>>
  /** What the gateway has in its books. */
  calls: () => Call[]
  /** What it has said of calls that it did not let through. */
  refusals: object[]
  run: (engine: string, run: SandboxRun) => Promise<SandboxEnd>
  close: () => Promise<void>
}

export async function engineWorld(
  options: { limits?: Limit[]; models?: readonly string[] } = {},
): Promise<EngineWorld> {
  const provider = await startFakeProvider()
  const dir = mkdtempSync(join(tmpdir(), 'engine-'))
  chmodSync(dir, 0o755)
  const ledger = openLedger({ file: join(dir, 'ledger.db'), nowMs: Date.now() })
  const own = { baseUrl: provider.url, key: () => KEY, auth: 'key' as const }
  const refusals: object[] = []
  const gateway = createGateway({
    ...{ ledger, prices: createPrices(prices(options.models ?? [])), nowMs: Date.now },
    providers: { anthropic: own, openai: own, gemini: own },
    log: (facts) => void refusals.push(facts),
  })
  const sockets = join(dir, 'gateway')
  mkdirSync(sockets)
  chmodSync(sockets, 0o755)
  await gateway.open({
    ...{ socketPath: join(sockets, 'gateway.sock'), attemptId: 'c.1', scopes: SCOPES, models: [] },
    limits: options.limits ?? [],
  })
  let runs = 0
  return {
    provider,
    calls: () => ledger.calls('c.1'),
    refusals,
    run: (engine, run) => {
      runs += 1
      return inContainer(engine, run, sockets, `${process.pid}-${Date.now()}.${runs}`)
    },
    close: async () => {
      await gateway.close()
      ledger.close()
      await provider.close()
      rmSync(dir, { recursive: true })
    },
  }
}

const file = (path: string, content: string | Buffer, mode = 0o644): TarEntry => ({
  ...{ path, mode, uid: 0 },
  content: Buffer.from(content),
})

async function inContainer(engine: string, run: SandboxRun, sockets: string, attemptId: string): Promise<SandboxEnd> {
  const adapter = adapterOf(shippedEngine(engine))
  if (adapter === undefined) throw new Error(`no engine ${engine}`)
  const { prompt, files = {}, session, before = ':', after = ':', ...own } = run
  const call = adapter.call({
    ...{ model: null, system: null, tools: {}, mcpServers: {}, resume: null },
    ...{ sessionId: '5f0d0a56-94ac-5c4b-9a4c-1c9d5b4a8d10', gatewayUrl: `http://127.0.0.1:${PORT}` },
    ...{ folders: { input: INPUT, home: HOME, workspace: WORKSPACE } },
    ...own,
  })
  const mkdirs = (root: string, path: string) => `mkdir -p ${quoted(`${root}/${path}`.replace(/\/[^/]*$/, ''))}`
  const script = [
    `cd ${WORKSPACE} || exit 125`,
    `. ${INPUT}/env`,
    ...(session === undefined ? [] : [`tar -C ${HOME} -xf ${INPUT}/session.tar || exit 125`]),
    ...call.homeFiles.flatMap(({ path }, index) => [
      mkdirs(HOME, path),
      `cp ${INPUT}/home-${index} ${quoted(`${HOME}/${path}`)} || exit 125`,
    ]),
    ...Object.keys(files).flatMap((path, index) => [
      mkdirs(WORKSPACE, path),
      `cp ${INPUT}/file-${index} ${quoted(`${WORKSPACE}/${path}`)} || exit 125`,
    ]),
    before,
    'mkdir /tmp/away',
    ...call.quarantine.map(
      (pattern) =>
        `for path in ${pattern}; do if [ -e "$path" ] || [ -L "$path" ]; then mkdir -p "/tmp/away/$(dirname "$path")"; mv "$path" "/tmp/away/$path"; fi; done`,
    ),
    `node ${INPUT}/forwarder.mjs ${PORT} /gateway/gateway.sock /bin/sh -c 'exec "$@" <${call.stdin === 'prompt' ? `${INPUT}/prompt` : '/dev/null'}' sh ${call.argv.map(quoted).join(' ')}`,
    'code=$?',
    after,
    `printf '\\n%s\\n' ${END}`,
    `cd ${WORKSPACE} && find . -type f ! -path './.git/*' | while read -r path; do printf '%s\\n' "$path"; base64 -w0 "$path"; echo; done`,
    `printf '\\n%s\\n' ${END}`,
    `cd ${HOME} && tar -cf - ${adapter.sessionFiles.map(quoted).join(' ')} 2>/dev/null | base64 -w0`,
    'exit "$code"',
  ].join('\n')

  const options = createOptions({
    ...{ attemptId, agentId: `engines-${process.pid}`, image: imageOf(engine), runtime: '' },
    entrypoint: ['/bin/sh', `${INPUT}/start`],
    resources: { memoryBytes: 2 * 2 ** 30, cpus: 2, pidsMax: 256, workspaceBytes: 256 * 2 ** 20 },
  })
  options.HostConfig?.Mounts?.push({ Type: 'bind', Source: sockets, Target: '/gateway', ReadOnly: true })
  const container = await dockerode.createContainer(options)
  try {
    await container.putArchive(
      tarOf([
        ...[file('start', script), file('prompt', prompt), file('forwarder.mjs', readFileSync(FORWARDER))],
        file('env', environmentFile(Object.entries(call.env)) ?? ''),
        ...call.homeFiles.map(({ content }, index) => file(`home-${index}`, content)),
        ...Object.values(files).map((content, index) => file(`file-${index}`, content, 0o755)),
        ...(session === undefined ? [] : [file('session.tar', session)]),
      ]),
      { path: INPUT },
    )
    const beganMs = Date.now()
    // Not the log: it has lost a line that follows a long one.
    const output = await container.attach({ stream: true, stdout: true, stderr: true })
    const pieces: Buffer[] = []
    output.on('data', (piece: Buffer) => pieces.push(piece))
    const isRead = once(output, 'end')
    await container.start()
    const tooLong = setTimeout(() => void container.kill().catch(() => {}), RUN_MS_MAX)
    const { StatusCode } = (await container.wait()) as { StatusCode: number }
    clearTimeout(tooLong)
    const tookMs = Date.now() - beganMs
    await isRead
    const written = streams(Buffer.concat(pieces))
    const [said = '', packed = '', kept = ''] = written.stdout.split(`\n${END}\n`)
    const lines = said.split('\n')
    const parser = adapter.parser?.() ?? null
    const events = lines.flatMap((line) => parser?.take(line) ?? [])
    const pairs = packed.split('\n')
    const left: Record<string, string> = {}
    for (let index = 0; index + 1 < pairs.length; index += 2)
      left[(pairs[index] ?? '').replace('./', '')] = Buffer.from(pairs[index + 1] ?? '', 'base64').toString()
    return {
      ...{ exitCode: StatusCode, lines, stderr: written.stderr, events, tookMs, files: left },
      outcome: parser?.outcome(StatusCode) ?? null,
      session: Buffer.from(kept, 'base64'),
    }
  } finally {
    await container.remove({ force: true, v: true })
  }
}

const END = '@end-of-the-engine'

/** Docker's frames: a byte that says which stream, three that say nothing, four of length. */
function streams(framed: Buffer): { stdout: string; stderr: string } {
  const parts: Record<number, Buffer[]> = { 1: [], 2: [] }
  for (let at = 0; at + 8 <= framed.length; ) {
    const length = framed.readUInt32BE(at + 4)
    parts[framed[at] as number]?.push(framed.subarray(at + 8, at + 8 + length))
    at += 8 + length
  }
  return { stdout: Buffer.concat(parts[1] ?? []).toString(), stderr: Buffer.concat(parts[2] ?? []).toString() }
}
