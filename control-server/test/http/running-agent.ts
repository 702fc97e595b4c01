/** An agent by hand: it runs what is there, and uploads whatever a test wants. */
import { createHash } from 'node:crypto'
import type { RegisterResponse, SyncResponse } from '@agent-executor/protocol'
import type { Answer, Server } from './harness.ts'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** An agent that runs what is there, and uploads by hand. */
export const runningAgent = async (server: Server, agentId = 'box-1', type = 'RUN_AGENT') => {
  const payload = type === 'RUN_AGENT' ? { engine: 'shell', prompt: 'true' } : { ms: 1 }
  const { commandId } = await server.submit({ type, payload, agentId })
  const registered = await server.call('POST', '/agents/register', {
    ...{
      agentId,
      journalId: `journal-${agentId}`,
      nonce: `nonce-${agentId}`,
      previousNonces: [],
      previousIncarnation: 0,
    },
    ...{ logSeq: 0, protocol: { min: 1, max: 1 }, version: '1', types: [type], labels: [], slots: { [type]: 5 } },
  })
  const { incarnation, epoch } = registered.body as RegisterResponse
  let seq = 0
  const sync = async (held: object[]): Promise<SyncResponse> => {
    seq += 1
    const whole = { incarnation, seq, epoch, revSeen: 0, logSeq: seq, mode: 'ready', want: { [type]: 5 }, held }
    return (await server.call('POST', `/agents/${agentId}/sync`, whole)).body as SyncResponse
  }
  await sync([])
  const attemptId = `${commandId}.1`
  await sync([{ attemptId, phase: 'accepted' }])
  const query = { agentId, incarnation: String(incarnation), epoch }
  /** To any route below the attempt. */
  const putAny = (
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
    change: object = {},
  ): Promise<Answer> =>
    server.call('PUT', `/attempts/${attemptId}/${path}?${new URLSearchParams({ ...query, ...change })}`, body, headers)
  const put = (stream: string, range: string, body: unknown, type: string, change: object = {}): Promise<Answer> =>
    putAny(`logs/${stream}`, body, { 'content-type': type, 'content-range': range }, change)
  return {
    commandId,
    attemptId,
    incarnation,
    epoch,
    put,
    putAny,
    query,
    upload: (offset: number, content: Uint8Array | string, stream = 'stdout', change: object = {}): Promise<Answer> => {
      const bytes = Buffer.from(content)
      return put(stream, `bytes ${offset}-${offset + bytes.length - 1}/*`, bytes, 'application/octet-stream', change)
    },
    end: (content: Uint8Array | string, stream = 'stdout', complete = true): Promise<Answer> => {
      const bytes = Buffer.from(content)
      return put(stream, `bytes */${bytes.length}`, { sha256: sha256(bytes), complete }, 'application/json')
    },
    finish: (result: unknown = 1) =>
      sync([
        {
          attemptId,
          phase: 'finished',
          outcome: { state: 'SUCCEEDED', result },
          outcomeSha256: sha256(Buffer.from('x')),
        },
      ]),
  }
}
