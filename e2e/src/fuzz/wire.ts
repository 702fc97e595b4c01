/** One connection of a client that sends what it likes, and reads what comes back. */
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export type Answer = { status: number; head: string; body: string }

/** Quiet for so long, a client that is not owed an answer shuts its side down, so that the server need not wait. */
const QUIET_MS = 300
/** Long enough for any machine: only a connection that the server never closes is late. */
const DEADLINE_MS = 60_000

/**
 * Writes the parts, `pauseMs` apart, and reads until the server closes; null where it does not. With `drop` the client
 * vanishes after the last part.
 */
export async function exchange(
  port: number,
  parts: readonly (Buffer | string)[],
  { pauseMs = 0, drop = false, owed = false }: { pauseMs?: number; drop?: boolean; owed?: boolean } = {},
): Promise<Answer[] | null> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const received: Buffer[] = []
  let touchedMs = performance.now()
  socket.on('data', (chunk) => {
    received.push(chunk)
    touchedMs = performance.now()
  })
  socket.on('error', () => {})
  socket.on('end', () => socket.end())
  const gone = new Promise<true>((resolve) => socket.once('close', () => resolve(true)))
  for (const part of parts) {
    if (!socket.writable) break
    socket.write(part)
    if (pauseMs > 0) await sleep(pauseMs)
    touchedMs = performance.now()
  }
  if (drop) socket.destroy()
  const watch = setInterval(() => {
    if (!owed && socket.writable && performance.now() - touchedMs >= QUIET_MS) socket.end()
  }, 50)
  const overdue = new AbortController()
  const late = sleep(DEADLINE_MS, false, { signal: overdue.signal }).catch(() => false)
  const closed = await Promise.race([gone, late])
  overdue.abort()
  clearInterval(watch)
  socket.destroy()
  return closed ? parseAnswers(Buffer.concat(received)) : null
}

/** Answers one after the other. The body is empty where not all of it came: the answer to a HEAD, or a cut connection. */
export function parseAnswers(bytes: Buffer): Answer[] {
  const answers: Answer[] = []
  let at = 0
  while (at < bytes.length) {
    const end = bytes.indexOf('\r\n\r\n', at)
    if (end < 0) break
    const head = bytes.toString('latin1', at, end)
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0)
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
    const from = end + 4
    // A log that is streamed: whatever follows it is not looked at.
    if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
      answers.push({ status, head, body: bytes.toString('utf8', from) })
      break
    }
    const isCut = bytes.toString('latin1', from, from + 9) === 'HTTP/1.1 ' || from + length > bytes.length
    at = isCut ? from : from + length
    answers.push({ status, head, body: bytes.toString('utf8', from, at) })
  }
  return answers
}
