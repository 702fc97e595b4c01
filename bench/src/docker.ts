/** Docker without the product: the floor under RUN_AGENT, by HTTP on its socket as the product's agent speaks to it. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { request } from 'node:http'
import type { Socket } from 'node:net'

const SOCKET = '/var/run/docker.sock'
const IMAGE = 'debian:bookworm-slim'

type Call = { method: string; path: string; body?: unknown }

async function call<Answer>({ method, path, body }: Call): Promise<Answer> {
  const sent = request({ socketPath: SOCKET, method, path, headers: { 'content-type': 'application/json' } })
  sent.end(body === undefined ? undefined : JSON.stringify(body))
  const [answer] = (await once(sent, 'response')) as [import('node:http').IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk as Buffer)
  const text = Buffer.concat(chunks).toString()
  if ((answer.statusCode ?? 500) >= 400) throw new Error(`Docker answers ${answer.statusCode} to ${path}: ${text}`)
  return (text === '' ? null : JSON.parse(text)) as Answer
}

/** What this machine lacks, or null. */
export async function dockerMissing(): Promise<string | null> {
  if (!existsSync(SOCKET)) return 'Docker'
  return call({ method: 'GET', path: `/images/${IMAGE}/json` }).then(
    () => null,
    () => `Docker with the image ${IMAGE}`,
  )
}

/** As tight as those of the product, as far as it costs time. */
const options = (argv: readonly string[], stdin: boolean) => ({
  Image: IMAGE,
  Entrypoint: argv,
  User: '10001:10001',
  Labels: { 'agent-executor.bench': String(process.pid) },
  ...(stdin ? { OpenStdin: true, StdinOnce: true, AttachStdin: true } : {}),
  HostConfig: {
    ...{ NetworkMode: 'none', ReadonlyRootfs: true, CapDrop: ['ALL'], SecurityOpt: ['no-new-privileges'], Init: true },
    ...{ Memory: 2 ** 28, MemorySwap: 2 ** 28, PidsLimit: 512, Tmpfs: { '/workspace': 'size=1048576' } },
  },
})

export async function makeContainer(argv: readonly string[], stdin = false): Promise<string> {
  const path = `/containers/create?name=agent-executor-bench-${process.pid}-${++made}`
  return (await call<{ Id: string }>({ method: 'POST', path, body: options(argv, stdin) })).Id
}
let made = 0

export const startContainer = (id: string) => call({ method: 'POST', path: `/containers/${id}/start` })
export const waitForContainer = (id: string) => call({ method: 'POST', path: `/containers/${id}/wait` })
export const renameContainer = (id: string) =>
  call({ method: 'POST', path: `/containers/${id}/rename?name=agent-executor-bench-${process.pid}-${++made}` })
export const removeContainer = (id: string) => call({ method: 'DELETE', path: `/containers/${id}?force=1&v=1` })

/** Attached to its output and its standard input. */
export async function attachContainer(id: string): Promise<Socket> {
  const path = `/containers/${id}/attach?stream=1&stdin=1&stdout=1&stderr=1`
  const headers = { connection: 'Upgrade', upgrade: 'tcp' }
  const sent = request({ socketPath: SOCKET, method: 'POST', path, headers })
  sent.end()
  const [, socket] = (await once(sent, 'upgrade')) as [unknown, Socket]
  return socket
}

/** Those of an agent, waiting in its pool. */
export async function countWaiting(agentId: string): Promise<number> {
  const filters = encodeURIComponent(
    JSON.stringify({ label: [`agent-executor.agent=${agentId}`], status: ['running'] }),
  )
  const found = await call<{ Names: string[] }[]>({ method: 'GET', path: `/containers/json?filters=${filters}` })
  return found.filter(({ Names }) => Names[0]?.startsWith('/agent-executor-pool-')).length
}

/** Of an agent that was ended, or of this process. */
export async function removeContainersWith(label: string): Promise<void> {
  const filters = encodeURIComponent(JSON.stringify({ label: [label] }))
  const found = await call<{ Id: string }[]>({ method: 'GET', path: `/containers/json?all=1&filters=${filters}` })
  for (const { Id } of found) await removeContainer(Id).catch(() => {})
}
