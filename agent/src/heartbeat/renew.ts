/**
 * The one call of the heartbeat thread, over the `fetch` that Node brings along: what loads the client of the main thread
 * would be loaded a second time, for half a second of CPU at every start of an agent.
 */
import type { HeartbeatRequest, HeartbeatResponse } from '@agent-executor/protocol'

const ANSWER_BYTES_MAX = 65_536

/** Rejects where the answer is anything but a renewal, or is not there after `timeoutMs`. */
export async function renew(
  serverUrl: string,
  agentId: string,
  body: HeartbeatRequest,
  timeoutMs: number,
): Promise<HeartbeatResponse> {
  const base = new URL(serverUrl.endsWith('/') ? serverUrl : `${serverUrl}/`)
  // By hand: nobody else holds the signal of AbortSignal.timeout, and a call without an end would be the thread's last.
  const abort = new AbortController()
  const timer = setTimeout(() => abort.abort(), timeoutMs)
  try {
    const response = await fetch(new URL(`agents/${encodeURIComponent(agentId)}/heartbeat`, base), {
      method: 'POST',
      headers: { accept: 'application/json', 'content-type': 'application/json' },
      body: JSON.stringify(body),
      redirect: 'error',
      signal: abort.signal,
    })
    return renewalOf(response.status, await textOf(response))
  } finally {
    clearTimeout(timer)
  }
}

async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > ANSWER_BYTES_MAX) throw new Error('the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function renewalOf(status: number, text: string): HeartbeatResponse {
  const { incarnation, leaseMs } = (JSON.parse(text) ?? {}) as Partial<HeartbeatResponse>
  const renewed = Number.isInteger(incarnation) && Number.isInteger(leaseMs) && Number(leaseMs) > 0
  if (status !== 200 || !renewed) throw new Error(`status ${status} with an answer that renews nothing`)
  return { incarnation, leaseMs } as HeartbeatResponse
}
