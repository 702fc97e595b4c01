/**
 * A server, an agent with a gateway of its own, and a provider of models on loopback that all engines are led to. What the
 * provider does in a run is decided by the name of the model, so that runs of all engines can go on side by side.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createGatewayClient, type SessionUsage } from '@agent-executor/agent/gateway/client'
import { type Manners, startFakeProvider } from '@agent-executor/gateway/test/fixtures/fake-provider'
import type { RunAgentResult, UsageSum } from '@agent-executor/protocol'
import { type Api, type CommandView, createApi, type Json } from './api.ts'
import { containersOf, dockerode, removeContainersOf } from './docker.ts'
import { freePort, needs, type Process, start, startServer } from './processes.ts'

export const LLM_ENGINES = ['claude-code', 'codex', 'opencode', 'gemini'] as const
export type LlmEngine = (typeof LLM_ENGINES)[number]

const FAMILY: Readonly<Record<LlmEngine, { provider: string; prefix: string }>> = {
  'claude-code': { provider: 'anthropic', prefix: 'claude-own' },
  codex: { provider: 'openai', prefix: 'gpt-own' },
  // With models of Anthropic, which it asks in their format.
  opencode: { provider: 'anthropic', prefix: 'claude-open' },
  gemini: { provider: 'gemini', prefix: 'gemini-own' },
}
export const modelOf = (engine: LlmEngine, scenario: string): string => `${FAMILY[engine].prefix}-${scenario}`

/** In micro-dollars, which is what a token costs where a million cost so many dollars. */
export const INPUT_MICRO_USD = 1
export const OUTPUT_MICRO_USD = 10

/** Nowhere else on the machine. */
export const KEYS: Readonly<Record<string, string>> = {
  ANTHROPIC_API_KEY: `sk-ant-never-seen-${process.pid}-a`,
  OPENAI_API_KEY: `sk-never-seen-${process.pid}-b`,
  GEMINI_API_KEY: `AIza-never-seen-${process.pid}-c`,
}

const imageOf = async (name: string): Promise<boolean> =>
  dockerode
    .getImage(name)
    .inspect()
    .then(
      () => true,
      () => false,
    )

/** Options of a test that needs the images of all engines. */
export async function needsEngines(images: readonly (string | null)[]): Promise<{ skip: string | false }> {
  const there = await Promise.all(images.map((image) => (image === null ? true : imageOf(image))))
  return needs('Docker with the images of all engines, see npm run images', there.every(Boolean))
}

let worlds = 0

/** Ends with `close`. */
export async function startEngineWorld(dir: string, scenarios: Readonly<Record<string, Partial<Manners>>>) {
  const port = await freePort()
  const provider = await startFakeProvider()
  provider.behave((call) => {
    const model = String(call.body.model ?? /models\/([^:]+):/.exec(call.path)?.[1])
    return scenarios[Object.keys(scenarios).find((name) => model.endsWith(`-${name}`)) ?? ''] ?? {}
  })
  const server = await startServer(join(dir, 'server'), port)
  const api = createApi(port)
  worlds += 1
  const agentId = `e2e-engines-${process.pid}-${worlds}`
  const processes: Process[] = [server]
  const names = new Set<string>()
  /** What a gateway gets, of an agent or alone. */
  const gatewayEnv = {
    ...KEYS,
    ...{ ANTHROPIC_BASE_URL: provider.url, OPENAI_BASE_URL: `${provider.url}/v1`, GEMINI_BASE_URL: provider.url },
    // Hosts of profiles are on loopback as well.
    GATEWAY_ALLOW_PRIVATE_EGRESS: 'true',
  }
  const startAgent = (
    flags: readonly string[] = [],
    { name = agentId, env = gatewayEnv }: { name?: string; env?: Record<string, string> } = {},
  ): Process => {
    const own = ['--data-dir', join(dir, name), '--server-url', `http://127.0.0.1:${port}`, '--agent-id', name]
    names.add(name)
    const agent = start(
      'agent/dist/src/main.js',
      [...own, '--poll-interval', '100', '--max-concurrent-agents', '4', '--log-level', 'trace', ...flags],
      env,
    )
    processes.push(agent)
    return agent
  }
  const close = async (): Promise<void> => {
    await Promise.all(processes.map((each) => each.kill()))
    await Promise.all([...names].map(removeContainersOf))
    await provider.close()
  }
  for (const scenario of Object.keys(scenarios))
    for (const engine of LLM_ENGINES) {
      const path = `/prices/${FAMILY[engine].provider}/${modelOf(engine, scenario)}`
      const { status, body } = await api.call('PUT', path, { input: INPUT_MICRO_USD, output: String(OUTPUT_MICRO_USD) })
      if (status >= 300) throw new Error(`${path} answered ${status}: ${JSON.stringify(body)}`)
    }
  return { dir, port, provider, server, api, agentId, gatewayEnv, startAgent, processes, close }
}

export const submitTo = async (
  { api }: { api: Api },
  engine: LlmEngine,
  scenario: string,
  payload: Json = {},
  more: Json = {},
): Promise<string> => {
  const own = { engine, prompt: 'Do what has to be done.', model: modelOf(engine, scenario), ...payload }
  const key = createHash('sha256')
    .update(JSON.stringify([engine, scenario, payload, more]))
    .digest('hex')
  return (await api.submit({ type: 'RUN_AGENT', timeoutMs: 240_000, payload: own, ...more }, key)).commandId
}

export const resultOf = ({ result }: CommandView): RunAgentResult => result as unknown as RunAgentResult

/** What the server shows of the use of a command, once it has so many calls. */
export async function usageOf({ api }: { api: Api }, commandId: string, calls: number) {
  let total = {} as UsageSum
  let body: Json = {}
  await api.eventually(`${calls} calls of ${commandId} are known`, async () => {
    body = (await api.call('GET', `/commands/${commandId}/usage`)).body
    total = body.total as UsageSum
    return total?.calls >= calls
  })
  return { total, body }
}

/** What the gateway itself says of an attempt. */
export async function askGateway(
  { dir, agentId }: { dir: string; agentId: string },
  attemptId: string,
): Promise<SessionUsage> {
  const client = createGatewayClient({ socketPath: join(dir, agentId, 'gateway/control.sock') })
  try {
    return await client.usage(attemptId)
  } finally {
    await client.disconnect()
  }
}

/** The container of a command that runs. */
export async function containerOf({ agentId }: { agentId: string }, commandId: string) {
  const found = (await containersOf(agentId)).find(({ Names }) => Names[0]?.includes(commandId))
  if (found === undefined) throw new Error(`no container of ${commandId}`)
  return dockerode.getContainer(found.Id)
}

/** What a command prints in a container, run as this user. */
export async function inContainer(id: string, command: string, user = '10001:10001'): Promise<Buffer> {
  const exec = await dockerode.getContainer(id).exec({
    ...{ Cmd: ['/bin/sh', '-c', command], User: user, AttachStdout: true, AttachStderr: true, WorkingDir: '/' },
  })
  const stream = await exec.start({ hijack: true, stdin: false })
  const pieces: Buffer[] = []
  for await (const piece of stream) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

/** The pid of the gateway that an agent has started. */
export const gatewayPid = async (agent: Process, after = 0): Promise<number> => {
  const line = await agent.logged(
    ({ msg, name, time }) => msg === 'gateway started' && name === 'gateway' && Date.parse(String(time)) >= after,
  )
  return Number(line.pid)
}

/** Files below a folder that have one of these texts in them, sockets and what is gone meanwhile left out. */
export function filesWith(folder: string, texts: readonly string[]): string[] {
  const found: string[] = []
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || !statSync(path, { throwIfNoEntry: false })?.isFile()) continue
    const bytes = readFileSync(path)
    if (texts.some((text) => bytes.includes(text))) found.push(path)
  }
  return found
}
